{{ config(
    unique_key=['day', 'vital'],
    post_hook="{{ delete_stale('day', ref('touched')) }}"
) }}

{%- set vitals = {
    'load': 'largest_paint_time_millis',
    'first_input_delay': 'first_input_delay_millis',
    'interaction_to_next_paint': 'interaction_to_next_paint_millis',
    'cumulative_layout_shift': 'cumulative_layout_shift',
} %}

with live_events as (
    {{ live_events_of_days() }}
),

measured as (
    select
        day,
        case event_type
            {%- for event_type, vital in vitals.items() %}
            when '{{ event_type }}' then '{{ vital }}'
            {%- endfor %}
        end as vital,
        case event_type
            {%- for event_type, vital in vitals.items() %}
            when '{{ event_type }}' then {{ vital }}
            {%- endfor %}
        end as measure
    from live_events
    where event_type in ('{{ vitals | join("', '") }}')
)

select
    day,
    vital,
    count(*) as events,
    {{ percentile('measure', 0.75) }} as p75,
    '{{ invocation_id }}' as _invocation_id
from measured
where measure is not null
group by day, vital
