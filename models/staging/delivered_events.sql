{%- set raw_events = landed('raw_events') -%}
{%- set loaded_files = landed('loaded_files') -%}
{%- set batch_loads = ref('batch_loads') -%}
{#- Not ref('events'): events is built from this model. None on the first run. -#}
{%- set events = built('events') -%}
{%- set may_be_sequenced = 'coalesce(_is_derived_id, false)' if var('sequence_views') else 'false' -%}

{%- set columns = [
    'event_id', 'event_time', 'processed_time', 'updated_time', 'device_id', 'session_id', 'view_id', 'event_type',
    'source_type', '_is_derived_id', '_is_export', '_is_restamped', '_file', '_position', '_dlt_load_id',
] -%}
{#- Whatever an event was stamped with, what the feed says of it is the same. -#}
{%- set content = unstamped(['event_type', 'source_type'] + event_content() | list) -%}

{%- set in_batch -%}
from {{ raw_events }} as landed_rows
inner join {{ batch_loads }} as loads on landed_rows._dlt_load_id = loads.load_id
where {{ unless_skipped('landed_rows', ['event_id', '_file']) }}
{%- endset -%}

{%- set recreated_files -%}
select
    files.path,
    -- A later load may only have seen the file touched, and holds none of its rows.
    max(case when files.is_recreated then files._dlt_load_id end) as last_load_id
from {{ loaded_files }} as files
inner join {{ batch_loads }} as loads on files._dlt_load_id = loads.load_id
where
    files.kind = 'events'
    and {{ unless_skipped('files', ['path']) }}
group by files.path
having max(case when files.is_recreated then 1 else 0 end) = 1
{%- endset -%}

{#- What events may have on another day than the rows of the batch say: what they null, and what they change. -#}
{%- set searched -%}
select
    landed_rows.event_id,
    max(landed_rows.event_time) as event_time,
    min(case when landed_rows.updated_time is null then 0 else 1 end) as is_updated
{{ in_batch }}
group by landed_rows.event_id
having
    max(landed_rows.event_time) is null
    or max(case when landed_rows.event_type is null then 1 else 0 end) = 1
    or min(case when landed_rows.updated_time is null then 0 else 1 end) = 1
{%- endset -%}

{#- All of these read events, so they are compiled only for a batch that needs them. -#}
{%- set has_recreated = events and count_rows('from (' ~ recreated_files ~ ') as recreated') > 0 -%}
{%- set has_searched = events and count_rows('from (' ~ searched ~ ') as searched') > 0 -%}
{%- if has_searched -%}
    {#- Mostly an event is on a day of the batch. One that may be on another day gives a row without days. -#}
    {%- set days_of_batch -%}
select distinct
    {{ utc_day('existing.event_time') }} as first_day,
    {{ utc_day('existing.event_time') }} as last_day
from ({{ searched }}) as searched
left join {{ events }} as existing
    on
        searched.event_id = existing._source_event_id
        and {{ day_ranges(
            'existing.event_time', days_in('event_time', '(select landed_rows.event_time ' ~ in_batch ~ ')')
        ) }}
where
    existing.event_id is not null
    or searched.event_time is null
    or searched.is_updated = 1
    {%- endset -%}
    {%- set known_days = run_query(days_of_batch ~ '\norder by 1').rows -%}
    {%- if none in known_days | map(attribute=0) -%}
        {#- Then the ids and times of all days are read, and nothing else of them. -#}
        {%- set days_of_all -%}
select distinct
    {{ utc_day('existing.event_time') }} as first_day,
    {{ utc_day('existing.event_time') }} as last_day
from ({{ searched }}) as searched
inner join {{ events }} as existing on searched.event_id = existing._source_event_id
        {%- endset -%}
        {%- set known_days = run_query(days_of_all ~ '\norder by 1').rows -%}
    {%- endif -%}
{%- endif %}

with delivered as (
    select
        {%- for column in columns %}
        landed_rows.{{ column }},
        {%- endfor %}
        case
            when landed_rows.event_type is not null then coalesce(landed_rows._content_hash, {{ hash_of(content) }})
        end as content_hash
    {{ in_batch }}
),

-- Few events come more than once, and only those are worth a sort.
repeated as (
    select event_id
    from delivered
    group by event_id
    having count(*) > 1
),

recreated_files as (
    {{ recreated_files | indent(4) }}
),

ranked as (
    select
        delivered.*,
        -- Immutable: what the oldest version says that says one.
        first_value(event_time) over (
            partition by event_id
            order by
                case when event_time is null then 1 else 0 end,
                updated_time nulls first,
                processed_time nulls first,
                _dlt_load_id,
                _file,
                _position
            rows between unbounded preceding and unbounded following
        ) as first_event_time,
        max(processed_time) over (partition by event_id) as known_processed_time,
        max(device_id) over (partition by event_id) as known_device_id,
        max(session_id) over (partition by event_id) as known_session_id,
        max(view_id) over (partition by event_id) as known_view_id,
        max(source_type) over (partition by event_id) as known_source_type,
        max(_dlt_load_id) over (partition by event_id) as last_load_id,
        count(*) over (partition by event_id) as row_count,
        min(_file) over (partition by event_id) <> max(_file) over (partition by event_id) as has_other_files,
        max(case when {{ may_be_sequenced }} then 1 else 0 end) over (partition by event_id) = 1 as may_be_sequenced,
        max(case when _is_restamped then 1 else 0 end) over (partition by event_id) = 1 as is_restamped,
        min(case when updated_time is null then 0 else 1 end) over (partition by event_id) = 1 as is_updated,
        row_number() over (
            partition by event_id
            order by
                updated_time desc nulls last,
                processed_time desc nulls last,
                case when event_type is null then 0 else 1 end,
                _dlt_load_id desc,
                _file desc,
                _position desc
        ) as version_rank
    from delivered
    where event_id in (select repeated.event_id from repeated)
    union all
    select
        delivered.*,
        event_time as first_event_time,
        processed_time as known_processed_time,
        device_id as known_device_id,
        session_id as known_session_id,
        view_id as known_view_id,
        source_type as known_source_type,
        _dlt_load_id as last_load_id,
        1 as row_count,
        false as has_other_files,
        {{ may_be_sequenced }} as may_be_sequenced,
        coalesce(_is_restamped, false) as is_restamped,
        updated_time is not null as is_updated,
        1 as version_rank
    from delivered
    where
        not exists (
            select 1
            from repeated
            where repeated.event_id = delivered.event_id
        )
),

latest as (
    select
        ranked.event_id,
        ranked.first_event_time as event_time,
        coalesce(ranked.processed_time, ranked.known_processed_time) as processed_time,
        coalesce(ranked.device_id, ranked.known_device_id) as device_id,
        coalesce(ranked.session_id, ranked.known_session_id) as session_id,
        coalesce(ranked.view_id, ranked.known_view_id) as view_id,
        ranked.event_type,
        coalesce(ranked.source_type, ranked.known_source_type) as source_type,
        ranked.updated_time as _feed_updated_time,
        ranked._file,
        ranked._position,
        ranked.has_other_files as _has_other_files,
        coalesce(ranked._is_export, false) as _is_export,
        ranked.is_restamped as _is_restamped,
        ranked._dlt_load_id as _load_id,
        ranked.content_hash as _content_hash,
        -- Only its older loads held the event, and no other file of this batch does.
        coalesce(not ranked.has_other_files and ranked.last_load_id < recreated_files.last_load_id, false)
            as _is_withdrawn,
        ranked.row_count as _row_count,
        ranked.may_be_sequenced,
        ranked.is_updated
    from ranked
    left join recreated_files on ranked._file = recreated_files.path
    where ranked.version_rank = 1
),

-- What events knows of them: the time that it gave them, and under which id it has them.
known as (
    {%- if has_searched %}
    select existing.*
    from {{ events }} as existing
    inner join latest on existing._source_event_id = latest.event_id
    where
        (latest.event_time is null or latest.event_type is null or latest.is_updated)
        and not existing._is_reordered
        and {{ literal_days('existing.event_time', known_days) }}
    {%- else %}
    select
        *,
        event_id as _source_event_id
    from latest
    where 1 = 0
    {%- endif %}
)

select
    latest.event_id as _source_event_id,
    known.event_id as _known_event_id,
    coalesce(known.event_time, latest.event_time) as event_time,
    latest.processed_time,
    coalesce(latest.device_id, known.device_id) as device_id,
    coalesce(latest.session_id, known.session_id) as session_id,
    coalesce(latest.view_id, known.view_id) as view_id,
    latest.event_type,
    coalesce(latest.source_type, known.source_type) as source_type,
    latest._feed_updated_time,
    latest._file,
    latest._position,
    latest._has_other_files,
    latest._load_id,
    latest._content_hash,
    latest._is_withdrawn,
    latest._is_export,
    latest._is_restamped,
    latest.is_updated as _is_updated,
    latest._row_count,
    latest.may_be_sequenced
    and coalesce(latest.event_time, known.event_time) is not null
    and coalesce(latest.device_id, known.device_id) is not null
    and coalesce(latest.session_id, known.session_id) is not null
    and coalesce(latest.view_id, known.view_id) is not null as _is_sequenced
from latest
left join known on latest.event_id = known._source_event_id

{%- if has_recreated %}
{%- set earlier_days -%}
select distinct
    {{ utc_day('files.first_event_time') }} as first_day,
    {{ utc_day('files.last_event_time') }} as last_day
from {{ loaded_files }} as files
inner join ({{ recreated_files }}) as recreated on files.path = recreated.path
{%- endset %}

union all

-- Merged before, and no longer in its file: the row as it stands, for events to null.
select
    existing._source_event_id,
    existing.event_id as _known_event_id,
    existing.event_time,
    existing.processed_time,
    existing.device_id,
    existing.session_id,
    existing.view_id,
    existing.event_type,
    existing.source_type,
    existing._feed_updated_time,
    existing._file,
    cast(null as {{ warehouse_type('bigint') }}) as _position,
    existing._has_other_files,
    existing._load_id,
    existing._content_hash,
    true as _is_withdrawn,
    -- A row that is nulled counts nowhere, whatever delivered it.
    false as _is_export,
    false as _is_restamped,
    false as _is_updated,
    0 as _row_count,
    false as _is_sequenced
from {{ events }} as existing
inner join recreated_files on existing._file = recreated_files.path
left join latest on existing._source_event_id = latest.event_id
where
    latest.event_id is null
    and not existing._is_reordered
    and not existing._has_other_files
    and {{ unless_skipped('existing', ['_source_event_id']) }}
    and {{ day_ranges('existing.event_time', earlier_days) }}
{%- endif %}
