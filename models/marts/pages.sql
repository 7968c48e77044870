with totals as (
    select
        visits.page_id,
        max(visits.page_definition_id) as page_definition_id,
        max(visits.page_label) as page_label,
        max(visits.url_host) as url_host,
        max(visits.url_path) as url_path,
        cast(sum(visits.views) as {{ warehouse_type('bigint') }}) as views,
        count(case when visits.views > 0 then 1 end) as sessions,
        count(distinct case when visits.views > 0 then sessions.user_id end) as users,
        count(case when visits.is_entry then 1 end) as entries,
        count(case when visits.is_exit then 1 end) as exits,
        cast(sum(visits.rage_clicks) as {{ warehouse_type('bigint') }}) as rage_clicks,
        cast(sum(visits.dead_clicks) as {{ warehouse_type('bigint') }}) as dead_clicks,
        min(visits.first_time) as first_seen,
        max(visits.last_time) as last_seen
    from {{ ref('int_session_pages') }} as visits
    inner join {{ ref('sessions') }} as sessions on visits.full_session_id = sessions.full_session_id
    group by visits.page_id
)

-- Named by the definition as it is today, matched as it was when the event was loaded.
select
    totals.page_id,
    totals.page_definition_id,
    coalesce(definitions.name, totals.page_label) as page_name,
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
