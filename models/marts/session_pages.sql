with visits as (
    select
        visits.*,
        sessions.user_id,
        sessions.start_time,
        {{ current_page_definition_id('visits') }} as current_definition_id,
        {{ page_by_rule() }} as page_by_rule
    from {{ ref('int_session_pages') }} as visits
    inner join {{ ref('sessions') }} as sessions on visits.full_session_id = sessions.full_session_id
    {{ with_page('visits') | indent(4) }}
),

-- In a session several rows may be one page.
totals as (
    select
        full_session_id,
        max(user_id) as user_id,
        max(start_time) as session_start_time,
        {{ page_of_group() }},
        {{ total('views') }} as views,
        count(case when is_entry then 1 end) > 0 as is_entry,
        count(case when is_exit then 1 end) > 0 as is_exit,
        {{ total('rage_clicks') }} as rage_clicks,
        {{ total('dead_clicks') }} as dead_clicks,
        min(first_time) as first_time,
        max(last_time) as last_time
    from visits
    group by full_session_id, coalesce(current_definition_id, page_by_rule, undefined_page_id)
)

select
    totals.full_session_id,
    totals.user_id,
    totals.session_start_time,
    totals.page_id,
    totals.page_definition_id,
    coalesce(definitions.name, totals.page_label) as page_name,
    totals.url_host,
    totals.url_path,
    totals.views,
    totals.is_entry,
    totals.is_exit,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.first_time,
    totals.last_time
from totals
left join {{ ref('page_definitions') }} as definitions on totals.page_definition_id = definitions.id
