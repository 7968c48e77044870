{{ config(
    unique_key=['day', 'device_id'],
    post_hook="{{ delete_stale('day', ref('touched_days')) }}"
) }}

with live_events as (
    {{ live_events_of_days() }}
),

parsed as (
    select
        day,
        device_id,
        full_session_id,
        event_type,
        case when event_type = 'click' then {{ json_number('event_properties', 'fs_rage_count') }} end as rage_count,
        case when event_type = 'click' then {{ json_number('event_properties', 'fs_dead_count') }} end as dead_count
    from live_events
)

select
    day,
    device_id,
    count(distinct full_session_id) as sessions,
    count(case when event_type = 'navigate' then 1 end) as page_views,
    count(case when rage_count > 0 then 1 end) as rage_clicks,
    count(case when dead_count > 0 then 1 end) as dead_clicks,
    count(case when event_type = 'exception' then 1 end) as exceptions,
    '{{ invocation_id }}' as _invocation_id
from parsed
group by day, device_id
