{{ config(
    unique_key=['full_session_id', 'element_id'],
    meta={'prune_by_session_day': 'session_start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('session_start_time'), 'session_start_time') }}",
    **layout('session_start_time', filter_by='element_id', join_by='full_session_id')
) }}

with live_events as (
    {{ live_events() }}
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
),

sessions as (
    {{ session_starts() }}
)

select
    on_elements.full_session_id,
    max(sessions.start_time) as session_start_time,
    on_elements.element_id,
    max(on_elements.element_definition_id) as element_definition_id,
    max(on_elements.raw_selector) as raw_selector,
    max(on_elements.target_text) as target_text,
    min(on_elements.event_time) as first_time,
    max(on_elements.event_time) as last_time,
    count(*) as clicks,
    count(case when on_elements.fs_rage_count > 0 then 1 end) as rage_clicks,
    count(case when on_elements.fs_dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from on_elements
left join sessions on on_elements.full_session_id = sessions.full_session_id
group by on_elements.full_session_id, on_elements.element_id
