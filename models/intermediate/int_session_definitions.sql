{{ config(
    unique_key=['day', 'full_session_id', 'event_definition_id'],
    meta={'prune_by_date': 'day'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_dates('day')) }}",
    **layout('day', filter_by='event_definition_id', join_by='full_session_id', data_type='date')
) }}

{%- set touched = ref('touched') %}

with live_events as (
    {{ live_events_of_days() }}
),

stamped as (
    select
        day,
        full_session_id,
        event_id,
        event_definition_id,
        additional_event_definition_ids
    from live_events
    where event_definition_id is not null
    {%- if is_incremental() %}
        and full_session_id in (select touched.full_session_id from {{ touched }} as touched)
    {%- endif %}
),

defined as (
    select
        day,
        full_session_id,
        event_id,
        event_definition_id
    from stamped
    union all
    select
        stamped.day,
        stamped.full_session_id,
        stamped.event_id,
        {{ json_item() }} as event_definition_id
    from stamped
    {{ json_items('stamped', 'additional_event_definition_ids') | indent(4) }}
)

select
    day,
    full_session_id,
    event_definition_id,
    count(distinct event_id) as events,
    '{{ invocation_id }}' as _invocation_id
from defined
where event_definition_id is not null
group by day, full_session_id, event_definition_id
