with clicked as (
    select
        {{ local_day('events.event_time') }} as day,
        events.full_session_id,
        events.element_definition_id,
        events.element_value_id,
        events.page_value_id,
        events.target_raw_selector as raw_selector,
        events.target_text,
        people.user_id,
        case when events.fs_rage_count > 0 then 1 else 0 end as is_rage_click,
        case when events.fs_dead_count > 0 then 1 else 0 end as is_dead_click
    from {{ ref('int_parsed_events') }} as events
    inner join {{ ref('int_sessions_of_people') }} as people on events.full_session_id = people.full_session_id
    where
        {{ is_in_session('events') }}
        and events.event_time is not null
        and events.event_type = 'click'
),

named as (
    select
        clicked.*,
        {{ current_element_definition_id('clicked') | indent(8) }} as current_definition_id
    from clicked
    {{ with_page('clicked', stamped=false) | indent(4) }}
    {{ with_element('clicked') | indent(4) }}
),

-- A defined element may have many selectors and texts.
told as (
    select
        day,
        full_session_id,
        user_id,
        current_definition_id,
        case when current_definition_id is null then raw_selector end as raw_selector,
        case when current_definition_id is null then target_text end as target_text,
        is_rage_click,
        is_dead_click
    from named
    where
        current_definition_id is not null
        or raw_selector is not null
        or target_text is not null
),

totals as (
    select
        day,
        current_definition_id,
        raw_selector,
        target_text,
        count(*) as clicks,
        count(distinct full_session_id) as sessions,
        count(distinct user_id) as users,
        {{ total('is_rage_click') }} as rage_clicks,
        {{ total('is_dead_click') }} as dead_clicks
    from told
    group by day, current_definition_id, raw_selector, target_text
)

select
    totals.day,
    coalesce(totals.current_definition_id, {{ hash_of(['totals.raw_selector', 'totals.target_text']) }}) as element_id,
    totals.current_definition_id as element_definition_id,
    definitions.name as element_name,
    totals.raw_selector,
    totals.target_text as text,
    totals.clicks,
    totals.sessions,
    totals.users,
    totals.rage_clicks,
    totals.dead_clicks
from totals
left join {{ ref('element_definitions') }} as definitions on totals.current_definition_id = definitions.id
