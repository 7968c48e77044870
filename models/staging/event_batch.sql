{%- set sequence = ['device_id', 'session_id', 'view_id'] -%}
{%- set columns = ['event_time', 'processed_time'] + sequence + [
    'event_type', 'event_properties', 'source_type', 'source_properties', '_feed_updated_time', '_file',
    '_has_other_files', '_load_id', '_content_hash', '_is_withdrawn', '_source_event_id',
] -%}
{%- set text, json = warehouse_type('varchar'), warehouse_type('json') -%}
{%- set content = {
    'event_type': text, 'event_properties': json, 'source_properties': json, '_content_hash': text,
} -%}

{%- if var('managed_events') -%}

-- What changed since the last green build, and again what changed just then: more of it may bear the same time.
select
    event_id,
    {%- for column in columns %}
    {#- The whole table is in the first batch, and nothing asks a batch for its JSON. #}
    {% if column.endswith('_properties') %}cast(null as {{ json }}) as {% endif %}{{ column }},
    {%- endfor %}
    event_id as _earlier_event_id,
    true as _is_delivered,
    _is_reordered
from {{ ref('events') }}
where
    updated_time >= (
        select coalesce(max(merged_until), {{ timestamptz('0001-01-01 00:00:00') }})
        from {{ ref('managed_cursor') }}
        where events_table = '{{ managed_events() }}'
    )

{%- else -%}

{%- set delivered_events = ref('delivered_events') -%}
{#- Not ref('events'): events is built from this model. None on the first run. -#}
{%- set events = built('events') -%}
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
)

select
    coalesce(placed.event_id, delivered._known_event_id, delivered._source_event_id) as event_id,
    {%- for column in columns %}
    delivered.{{ column }},
    {%- endfor %}
    coalesce(known.event_id, delivered._known_event_id, placed.event_id, delivered._source_event_id)
        as _earlier_event_id,
    true as _is_delivered,
    false as _is_reordered
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
    known.event_id as _earlier_event_id,
    false as _is_delivered,
    false as _is_reordered
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
    {% if column in content -%}
    cast(null as {{ content[column] }}) as {{ column }},
    {%- else -%}
    existing.{{ column }},
    {%- endif %}
    {%- endfor %}
    existing.event_id as _earlier_event_id,
    false as _is_delivered,
    true as _is_reordered
from existing
inner join placed on existing._source_event_id = placed._source_event_id
where
    existing.event_id <> placed.event_id
    and existing.event_time >= existing.first_delivered_time

{%- endif %}
