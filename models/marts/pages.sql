with totals as (
    select
        page_id,
        max(page_definition_id) as page_definition_id,
        max(page_name) as page_name,
        max(url_host) as url_host,
        max(url_path) as url_path,
        {{ total('views') }} as views,
        count(case when views > 0 then 1 end) as sessions,
        count(distinct case when views > 0 then user_id end) as users,
        count(case when is_entry then 1 end) as entries,
        count(case when is_exit then 1 end) as exits,
        {{ total('rage_clicks') }} as rage_clicks,
        {{ total('dead_clicks') }} as dead_clicks,
        min(first_time) as first_seen,
        max(last_time) as last_seen
    from {{ ref('session_pages') }}
    group by page_id
)

select
    totals.page_id,
    totals.page_definition_id,
    totals.page_name,
    definitions.description as page_description,
    totals.url_host,
    totals.url_path,
    totals.views,
    totals.sessions,
    totals.users,
    totals.entries,
    totals.exits,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.first_seen,
    totals.last_seen
from totals
left join {{ ref('page_definitions') }} as definitions on totals.page_definition_id = definitions.id
