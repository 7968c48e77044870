with visits as (
    select
        visits.*,
        sessions.user_id,
        {{ current_page_definition_id('visits') }} as current_definition_id,
        {{ page_by_rule() }} as page_by_rule
    from {{ ref('int_session_pages') }} as visits
    inner join {{ ref('sessions') }} as sessions on visits.full_session_id = sessions.full_session_id
    {{ with_page('visits') | indent(4) }}
),

-- In a session several rows may be one page.
totals as (
    select
        coalesce(current_definition_id, page_by_rule, undefined_page_id) as page_id,
        max(current_definition_id) as page_definition_id,
        max(case when current_definition_id is null then page_label end) as page_label,
        max(case when current_definition_id is null then url_host end) as url_host,
        max(
            case
                when current_definition_id is not null then null
                when page_by_rule is null then url_path
                when substr(page_by_rule, 1, {{ dbt.length('url_host') }}) = url_host
                    then substr(page_by_rule, {{ dbt.length('url_host') }} + 1)
            end
        ) as url_path,
        cast(sum(views) as {{ warehouse_type('bigint') }}) as views,
        count(distinct case when views > 0 then full_session_id end) as sessions,
        count(distinct case when views > 0 then user_id end) as users,
        count(case when is_entry then 1 end) as entries,
        count(case when is_exit then 1 end) as exits,
        cast(sum(rage_clicks) as {{ warehouse_type('bigint') }}) as rage_clicks,
        cast(sum(dead_clicks) as {{ warehouse_type('bigint') }}) as dead_clicks,
        min(first_time) as first_seen,
        max(last_time) as last_seen
    from visits
    group by coalesce(current_definition_id, page_by_rule, undefined_page_id)
)

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
