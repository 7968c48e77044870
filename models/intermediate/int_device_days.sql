{{ config(
    unique_key=['day', 'device_id'],
    post_hook="{{ delete_stale('day', ref('touched_days')) }}
        and device_id in (select touched.device_id from {{ ref('touched_sessions') }} as touched)"
) }}

{%- set touched_sessions = ref('touched_sessions') %}

with live_events as (
    {{ live_events_of_days() }}
)

select
    day,
    device_id,
    count(distinct full_session_id) as sessions,
    count(case when event_type = 'navigate' then 1 end) as page_views,
    count(case when event_type = 'click' and fs_rage_count > 0 then 1 end) as rage_clicks,
    count(case when event_type = 'click' and fs_dead_count > 0 then 1 end) as dead_clicks,
    count(case when event_type = 'exception' then 1 end) as exceptions,
    '{{ invocation_id }}' as _invocation_id
from live_events
{%- if is_incremental() %}
where device_id in (select touched.device_id from {{ touched_sessions }} as touched)
{%- endif %}
group by day, device_id
