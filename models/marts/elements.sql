with clicked as (
    select
        clicks.*,
        sessions.user_id,
        {{ current_element_definition_id('clicks') | indent(8) }} as current_definition_id
    from {{ ref('int_session_elements') }} as clicks
    inner join {{ ref('sessions') }} as sessions on clicks.full_session_id = sessions.full_session_id
    {{ with_page('clicks', stamped=false) | indent(4) }}
    {{ with_element('clicks') | indent(4) }}
),

-- A defined element may have many selectors and texts.
told as (
    select
        full_session_id,
        user_id,
        current_definition_id,
        case when current_definition_id is null then raw_selector end as raw_selector,
        case when current_definition_id is null then target_text end as target_text,
        clicks,
        rage_clicks,
        dead_clicks,
        first_time,
        last_time
    from clicked
    where
        current_definition_id is not null
        or raw_selector is not null
        or target_text is not null
),

-- In a session several rows may be one element.
totals as (
    select
        current_definition_id,
        raw_selector,
        target_text,
        {{ total('clicks') }} as total_clicks,
        count(distinct full_session_id) as sessions,
        count(distinct user_id) as users,
        {{ total('rage_clicks') }} as rage_clicks,
        {{ total('dead_clicks') }} as dead_clicks,
        min(first_time) as first_seen,
        max(last_time) as last_seen
    from told
    group by current_definition_id, raw_selector, target_text
)

select
    coalesce(totals.current_definition_id, {{ hash_of(['totals.raw_selector', 'totals.target_text']) }}) as element_id,
    totals.current_definition_id as element_definition_id,
    definitions.name as element_name,
    definitions.description as element_description,
    totals.raw_selector,
    totals.target_text as text,
    totals.total_clicks as clicks,
    totals.sessions,
    totals.users,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.first_seen,
    totals.last_seen
from totals
left join {{ ref('element_definitions') }} as definitions on totals.current_definition_id = definitions.id
