{{ config(
    unique_key=['full_session_id', 'element_key'],
    meta={'prune_by_session_day': 'session_start_time'},
    post_hook="{{ delete_stale('full_session_id', ref('touched'), in_touched_sessions('session_start_time'), 'session_start_time') }}",
    **layout('session_start_time', filter_by='element_value_id', join_by='full_session_id')
) }}

{#- All that an element may be named by, so that definitions of any day name it: some hold on one page only. -#}
{%- set named_by = ['element_definition_id', 'element_value_id', 'page_value_id'] %}

with live_events as (
    {{ live_events() }}
),

on_elements as (
    select
        live_events.*,
        {{ hash_of(named_by) }} as element_key
    from live_events
    where
        event_type = 'click'
        and (
            element_definition_id is not null
            or target_raw_selector is not null
            or target_text is not null
        )
),

sessions as (
    {{ session_starts() }}
)

select
    on_elements.full_session_id,
    max(sessions.start_time) as session_start_time,
    on_elements.element_key,
    {%- for column in named_by %}
    max(on_elements.{{ column }}) as {{ column }},
    {%- endfor %}
    max(on_elements.target_raw_selector) as raw_selector,
    max(on_elements.target_text) as target_text,
    min(on_elements.event_time) as first_time,
    max(on_elements.event_time) as last_time,
    count(*) as clicks,
    count(case when on_elements.fs_rage_count > 0 then 1 end) as rage_clicks,
    count(case when on_elements.fs_dead_count > 0 then 1 end) as dead_clicks,
    '{{ invocation_id }}' as _invocation_id
from on_elements
left join sessions on on_elements.full_session_id = sessions.full_session_id
group by on_elements.full_session_id, on_elements.element_key
