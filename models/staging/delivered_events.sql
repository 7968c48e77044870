{%- set raw_events = landed('raw_events') -%}
{%- set loaded_files = landed('loaded_files') -%}
{%- set batch_loads = ref('batch_loads') -%}
{#- Not ref('events'): events is built from this model. None on the first run. -#}
{%- set events = built('events') -%}
{%- set may_be_sequenced = '_is_derived_id' if var('sequence_views') else 'false' -%}

{%- set content = ['event_type', 'source_type', 'event_properties', 'source_properties'] -%}

{%- set in_batch -%}
from {{ raw_events }} as landed_rows
inner join {{ batch_loads }} as loads on landed_rows._dlt_load_id = loads.load_id
{%- endset -%}

{%- set recreated_files -%}
select
    files.path,
    -- A later load may only have seen the file touched, and holds none of its rows.
    max(case when files.is_recreated then files._dlt_load_id end) as last_load_id
from {{ loaded_files }} as files
inner join {{ batch_loads }} as loads on files._dlt_load_id = loads.load_id
where files.kind = 'events'
group by files.path
having max(case when files.is_recreated then 1 else 0 end) = 1
{%- endset -%}

{%- set superseding -%}
select
    landed_rows.event_id,
    max(landed_rows.event_time) as event_time
{{ in_batch }}
group by landed_rows.event_id
having max(landed_rows.event_time) is null or max(case when landed_rows.event_type is null then 1 else 0 end) = 1
{%- endset -%}

{#- Both read events, so they are compiled only for a batch that needs them. -#}
{%- set has_recreated = events and count_rows('from (' ~ recreated_files ~ ') as recreated') > 0 -%}
{%- set has_superseding = events and count_rows('from (' ~ superseding ~ ') as superseding') > 0 -%}
{%- if has_superseding -%}
    {#- A row without event_time can't be pruned by it. Mostly its event is on a day of the batch all the same; one that
        is not gives a row without days. -#}
    {%- set days_of_superseded -%}
select distinct
    {{ utc_day('existing.event_time') }} as first_day,
    {{ utc_day('existing.event_time') }} as last_day
from ({{ superseding }}) as superseding
left join {{ events }} as existing
    on
        superseding.event_id = existing._source_event_id
        and {{ day_ranges(
            'existing.event_time', days_in('event_time', '(select landed_rows.event_time ' ~ in_batch ~ ')')
        ) }}
where existing.event_id is not null or superseding.event_time is null
    {%- endset -%}
    {%- set superseded_days = run_query(days_of_superseded ~ '\norder by 1').rows -%}
    {%- set are_days_known = none not in superseded_days | map(attribute=0) -%}
{%- endif %}

with delivered as (
    select landed_rows.*
    {{ in_batch }}
),

recreated_files as (
    {{ recreated_files | indent(4) }}
),

ranked as (
    select
        delivered.*,
        max(event_time) over (partition by event_id) as known_event_time,
        max(processed_time) over (partition by event_id) as known_processed_time,
        max(device_id) over (partition by event_id) as known_device_id,
        max(session_id) over (partition by event_id) as known_session_id,
        max(view_id) over (partition by event_id) as known_view_id,
        max(source_type) over (partition by event_id) as known_source_type,
        max(_dlt_load_id) over (partition by event_id) as last_load_id,
        min(_file) over (partition by event_id) <> max(_file) over (partition by event_id) as has_other_files,
        max(case when {{ may_be_sequenced }} then 1 else 0 end) over (partition by event_id) = 1 as may_be_sequenced,
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
),

latest as (
    select
        ranked.event_id,
        coalesce(ranked.event_time, ranked.known_event_time) as event_time,
        coalesce(ranked.processed_time, ranked.known_processed_time) as processed_time,
        coalesce(ranked.device_id, ranked.known_device_id) as device_id,
        coalesce(ranked.session_id, ranked.known_session_id) as session_id,
        coalesce(ranked.view_id, ranked.known_view_id) as view_id,
        ranked.event_type,
        case when ranked.event_type is not null then ranked.event_properties end as event_properties,
        coalesce(ranked.source_type, ranked.known_source_type) as source_type,
        case when ranked.event_type is not null then ranked.source_properties end as source_properties,
        ranked.updated_time as _feed_updated_time,
        ranked._file,
        ranked.has_other_files as _has_other_files,
        ranked._dlt_load_id as _load_id,
        -- Only its older loads held the event, and no other file of this batch does.
        coalesce(not ranked.has_other_files and ranked.last_load_id < recreated_files.last_load_id, false)
            as _is_withdrawn,
        ranked.may_be_sequenced
    from ranked
    left join recreated_files on ranked._file = recreated_files.path
    where ranked.version_rank = 1
),

hashed as (
    select
        latest.*,
        case when event_type is not null then {{ hash_of(content) }} end as _content_hash
    from latest
),

-- What events knows of rows that came without event_time, and under which id it knows what is superseded.
known as (
    {%- if has_superseding %}
    select existing.*
    from {{ events }} as existing
    inner join hashed on existing._source_event_id = hashed.event_id
    where
        (hashed.event_time is null or hashed.event_type is null)
        and not existing._is_reordered
        {%- if are_days_known %}
        and {{ literal_days('existing.event_time', superseded_days) }}
        {%- endif %}
    {%- else %}
    select
        *,
        event_id as _source_event_id
    from hashed
    where 1 = 0
    {%- endif %}
)

select
    hashed.event_id as _source_event_id,
    known.event_id as _known_event_id,
    coalesce(hashed.event_time, known.event_time) as event_time,
    hashed.processed_time,
    coalesce(hashed.device_id, known.device_id) as device_id,
    coalesce(hashed.session_id, known.session_id) as session_id,
    coalesce(hashed.view_id, known.view_id) as view_id,
    hashed.event_type,
    {{ parse_json('hashed.event_properties') }} as event_properties,
    coalesce(hashed.source_type, known.source_type) as source_type,
    {{ parse_json('hashed.source_properties') }} as source_properties,
    hashed._feed_updated_time,
    hashed._file,
    hashed._has_other_files,
    hashed._load_id,
    hashed._content_hash,
    hashed._is_withdrawn,
    hashed.may_be_sequenced
    and coalesce(hashed.event_time, known.event_time) is not null
    and coalesce(hashed.device_id, known.device_id) is not null
    and coalesce(hashed.session_id, known.session_id) is not null
    and coalesce(hashed.view_id, known.view_id) is not null as _is_sequenced
from hashed
left join known on hashed.event_id = known._source_event_id

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
    existing.event_properties,
    existing.source_type,
    existing.source_properties,
    existing._feed_updated_time,
    existing._file,
    existing._has_other_files,
    existing._load_id,
    existing._content_hash,
    true as _is_withdrawn,
    false as _is_sequenced
from {{ events }} as existing
inner join recreated_files on existing._file = recreated_files.path
left join latest on existing._source_event_id = latest.event_id
where
    latest.event_id is null
    and not existing._is_reordered
    and not existing._has_other_files
    and {{ day_ranges('existing.event_time', earlier_days) }}
{%- endif %}
