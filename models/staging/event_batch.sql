{%- set sequence = ['device_id', 'session_id', 'view_id'] -%}
{%- set columns = ['event_time', 'processed_time'] + sequence + [
    'event_type', 'source_type', '_feed_updated_time', '_file', '_has_other_files', '_load_id', '_content_hash',
    '_is_withdrawn', '_source_event_id',
] -%}
{%- set no_position = 'cast(null as ' ~ warehouse_type('bigint') ~ ') as _position' -%}
{#- Not ref('events'): events is built from this model. None on the first run. -#}
{%- set events = built('events') -%}
{#- Whose requests are asked for. -#}
{%- do ref('batch_loads') -%}

{%- if var('managed_events') -%}

{%- set written -%}
from {{ ref('events') }} as events
where
    events.updated_time >= (
        select coalesce(max(merged_until), {{ timestamptz('0001-01-01 00:00:00') }})
        from {{ ref('managed_cursor') }}
        where events_table = '{{ managed_events() }}'
    )
{%- endset -%}
{#- Not by ref: both are built from this. None on the first run. -#}
{%- set parsed_events, wrong_clocks = built('int_parsed_events'), built('int_wrong_clocks') -%}
{#- Then the ids and times of all days are read, and nothing else of them. -#}
{%- set has_untimed = parsed_events and wrong_clocks and count_rows(written ~ ' and events.event_time is null') > 0 -%}

-- What changed since the last green build, and again what changed just then: more of it may bear the same time.
with written as (
    select *
    {{ written | indent(4) }}
),

-- A nulled row need not carry its time any more: its event is found by the time that it had.
untimed as (
    {%- if has_untimed %}
    select
        written.event_id,
        coalesce(max(clocks.device_time), max(parsed.event_time)) as event_time
    from written
    left join {{ parsed_events }} as parsed on written.event_id = parsed.event_id
    left join {{ wrong_clocks }} as clocks on written.event_id = clocks.event_id
    where written.event_time is null
    group by written.event_id
    {%- else %}
    select
        event_id,
        event_time
    from written
    where 1 = 0
    {%- endif %}
),

batch as (
    select
        written.event_id,
        coalesce(written.event_time, untimed.event_time) as event_time,
        {%- for column in columns if column != 'event_time' %}
        written.{{ column }},
        {%- endfor %}
        {{ no_position }},
        written.event_id as _earlier_event_id,
        true as _is_delivered,
        written._is_reordered,
        false as _is_export,
        false as _is_restamped
    from written
    left join untimed on written.event_id = untimed.event_id
)

{%- else -%}

{%- set delivered_events = ref('delivered_events') -%}
{%- set sequenced = '(select event_time from ' ~ delivered_events ~ ' as delivered where _is_sequenced)' -%}

with delivered as (
    select * from {{ delivered_events }}
),

-- What a view holds of one day (UTC) is a sequence, so that what can have to move lies on the days of the batch.
touched as (
    select
        {{ sequence | join(',\n        ') }},
        {{ utc_day('event_time') }} as event_day,
        min(event_time) as first_delivered_time
    from delivered
    where _is_sequenced
    group by {{ sequence | join(', ') }}, {{ utc_day('event_time') }}
),

existing as (
    {%- if events %}
    select
        events.*,
        touched.event_day,
        touched.first_delivered_time
    from {{ events }} as events
    inner join touched
        on
            {%- for column in sequence %}
            events.{{ column }} = touched.{{ column }} and
            {%- endfor %}
            {{ utc_day('events.event_time') }} = touched.event_day
    where
        -- What came with an id of its own keeps it.
        events.event_id <> events._source_event_id
        and {{ day_ranges('events.event_time', days_in('event_time', sequenced)) }}
    {%- else %}
    select
        delivered.*,
        delivered._source_event_id as event_id,
        false as _is_reordered,
        touched.event_day,
        touched.first_delivered_time
    from delivered
    inner join touched on delivered.device_id = touched.device_id
    where 1 = 0
    {%- endif %}
),

known as (
    select *
    from existing
    where not _is_reordered
),

-- An event keeps counting when it is nulled, so that a place only ever moves back, and no id comes back.
members as (
    select
        {{ sequence | join(',\n        ') }},
        event_day,
        event_time,
        _source_event_id
    from known
    union all
    select
        {%- for column in sequence %}
        delivered.{{ column }},
        {%- endfor %}
        {{ utc_day('delivered.event_time') }} as event_day,
        delivered.event_time,
        delivered._source_event_id
    from delivered
    left join known on delivered._source_event_id = known._source_event_id
    where
        delivered._is_sequenced
        and known.event_id is null
),

ranked as (
    select
        members.*,
        row_number() over (
            partition by {{ sequence | join(', ') }}, event_day
            order by event_time, _source_event_id
        ) as place
    from members
),

-- The ids of a view sort as its events.
placed as (
    select
        _source_event_id,
        {{ dbt.concat([
            'cast(event_day as ' ~ dbt.type_string() ~ ')',
            "'-'",
            'lpad(cast(place as ' ~ dbt.type_string() ~ "), 6, '0')",
            "'-'",
            '_source_event_id',
        ]) }} as event_id
    from ranked
),

batch as (
    select
        coalesce(placed.event_id, delivered._known_event_id, delivered._source_event_id) as event_id,
        {%- for column in columns %}
        delivered.{{ column }},
        {%- endfor %}
        delivered._position,
        coalesce(known.event_id, delivered._known_event_id, placed.event_id, delivered._source_event_id)
            as _earlier_event_id,
        true as _is_delivered,
        false as _is_reordered,
        delivered._is_export,
        delivered._is_restamped
    from delivered
    left join placed on delivered._source_event_id = placed._source_event_id
    left join known on delivered._source_event_id = known._source_event_id

    union all

    -- What comes after the first of them that was delivered, and all of it when a killed build is repeated: events has
    -- moved it by then, but nothing after events knows.
    select
        placed.event_id,
        {%- for column in columns %}
        known.{{ column }},
        {%- endfor %}
        {{ no_position }},
        known.event_id as _earlier_event_id,
        false as _is_delivered,
        false as _is_reordered,
        -- Exports are not sequenced.
        false as _is_export,
        false as _is_restamped
    from known
    inner join placed on known._source_event_id = placed._source_event_id
    left join delivered on known._source_event_id = delivered._source_event_id
    where
        delivered._source_event_id is null
        and known.event_time >= known.first_delivered_time

    union all

    -- The rows that these leave behind, now or before.
    select
        existing.event_id,
        {%- for column in columns %}
        {% if column in ('event_type', '_content_hash') -%}
        cast(null as {{ warehouse_type('varchar') }}) as {{ column }},
        {%- else -%}
        existing.{{ column }},
        {%- endif %}
        {%- endfor %}
        {{ no_position }},
        existing.event_id as _earlier_event_id,
        false as _is_delivered,
        true as _is_reordered,
        false as _is_export,
        false as _is_restamped
    from existing
    inner join placed on existing._source_event_id = placed._source_event_id
    where
        existing.event_id <> placed.event_id
        and existing.event_time >= existing.first_delivered_time
)

{%- endif %}

select
    batch.*,
    false as _is_redone
from batch

{%- if events and requests() %}

union all

-- What events has of the days that a request names, so that all that is made from it is made again.
select
    existing.event_id,
    {%- for column in columns %}
    existing.{{ column }},
    {%- endfor %}
    {{ no_position }},
    cast(null as {{ warehouse_type('varchar') }}) as _earlier_event_id,
    false as _is_delivered,
    existing._is_reordered,
    existing._is_export,
    false as _is_restamped,
    true as _is_redone
from {{ events }} as existing
where
    {{ is_requested('existing') }}
    and existing.event_id not in (select batch.event_id from batch)
{%- endif %}
