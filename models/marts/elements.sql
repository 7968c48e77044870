with totals as (
    select
        clicks.element_id,
        max(clicks.element_definition_id) as element_definition_id,
        max(clicks.raw_selector) as raw_selector,
        max(clicks.target_text) as target_text,
        cast(sum(clicks.clicks) as {{ warehouse_type('bigint') }}) as total_clicks,
        count(*) as sessions,
        count(distinct sessions.user_id) as users,
        cast(sum(clicks.rage_clicks) as {{ warehouse_type('bigint') }}) as rage_clicks,
        cast(sum(clicks.dead_clicks) as {{ warehouse_type('bigint') }}) as dead_clicks,
        min(clicks.first_time) as first_seen,
        max(clicks.last_time) as last_seen
    from {{ ref('int_session_elements') }} as clicks
    inner join {{ ref('sessions') }} as sessions on clicks.full_session_id = sessions.full_session_id
    group by clicks.element_id
)

-- Named by the definition as it is today, matched as it was when the event was loaded.
select
    totals.element_id,
    totals.element_definition_id,
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
left join {{ ref('element_definitions') }} as definitions on totals.element_definition_id = definitions.id
