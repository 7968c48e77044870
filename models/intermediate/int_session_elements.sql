{{ config(
    unique_key=['full_session_id', 'element_id'],
    post_hook="{{ delete_stale('full_session_id', ref('touched_sessions')) }}"
) }}

with live_events as (
    {{ live_events(ref('int_sessions')) }}
),

parsed as (
    select
        full_session_id,
        event_time,
        element_definition_id,
        -- A defined element may have many selectors and texts.
        case when element_definition_id is null then target_raw_selector end as raw_selector,
        case when element_definition_id is null then target_text end as target_text,
        fs_rage_count,
        fs_dead_count
    from live_events
    where event_type = 'click'
),

on_elements as (
    select
        parsed.*,
        coalesce(element_definition_id, {{ hash_of(['raw_selector', 'target_text']) }}) as element_id
    from parsed
    where
        element_definition_id is not null
        or raw_selector is not null
        or target_text is not null
)

select
    full_session_id,
    element_id,
    max(element_definition_id) as element_definition_id,
    max(raw_selector) as raw_selector,
    max(target_text) as target_text,
    min(event_time) as first_time,
    max(event_time) as last_time,
    count(*) as clicks,
    count(case when fs_rage_count > 0 then 1 end) as rage_clicks,
    count(case when fs_dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from on_elements
group by full_session_id, element_id
