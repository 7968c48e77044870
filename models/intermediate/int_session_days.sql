{{ config(
    unique_key=['day', 'full_session_id'],
    meta={'prune_by_date': 'day'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_dates('day')) }}",
    **layout('day', filter_by='full_session_id', join_by='full_session_id', data_type='date')
) }}

{%- set touched = ref('touched') %}

with live_events as (
    {{ live_events_of_days() }}
)

select
    day,
    full_session_id,
    count(case when event_type = 'click' and fs_rage_count > 0 then 1 end) as rage_clicks,
    count(case when event_type = 'click' and fs_dead_count > 0 then 1 end) as dead_clicks,
    count(case when event_type = 'exception' then 1 end) as exceptions,
    '{{ invocation_id }}' as _invocation_id
from live_events
{%- if is_incremental() %}
where full_session_id in (select touched.full_session_id from {{ touched }} as touched)
{%- endif %}
group by day, full_session_id
