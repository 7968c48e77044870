{#- All that a page may be named by, so that definitions of any day name it when it is read. -#}
{%- set named_by = ['page_definition_id', 'undefined_page_id', 'page_value_id'] -%}
{%- set of_page = named_by + ['page_label', 'page_host', 'page_path'] -%}
{#- Nobody looks at a page for a day; what a device says beyond that would overflow the sum. -#}
{%- set longest = '86400000' -%}
{%- set is_of_url = "(views.url_host <> '' or views.url_path <> '') and views.undefined_page_id not like 'app://%'" %}

with viewed as (
    select
        views.full_session_id,
        {{ local_day('views.start_time') }} as day,
        {%- for column in named_by %}
        views.{{ column }},
        {%- endfor %}
        case when {{ is_of_url }} then null else views.page_name end as page_label,
        views.url_full_url,
        views.url_host,
        {{ is_of_url }} as is_of_url,
        case when views.view_number = 1 then 1 else 0 end as is_entry,
        case when views.next_undefined_page_id is null then 1 else 0 end as is_exit,
        case when views.duration_millis between 0 and {{ longest }} then views.duration_millis end as duration_millis,
        case when views.active_duration_millis between 0 and {{ longest }} then views.active_duration_millis end
            as active_duration_millis,
        case when views.max_scroll_depth between 0 and 1 then views.max_scroll_depth end as max_scroll_depth
    from {{ ref('int_page_views') }} as views
),

-- Without a port there is none to be left out.
hosted as (
    select
        viewed.*,
        case
            when is_of_url and url_host like '%:%' then {{ page_host() | indent(12) }}
            when is_of_url then lower(url_host)
        end as page_host
    from viewed
),

troubled as (
    select
        events.event_id,
        events.full_session_id,
        events.view_id,
        {{ local_day('events.event_time') }} as day,
        {%- for column in of_page %}
        events.{{ column }},
        {%- endfor %}
        -- In an app a click tells no screen; the page_view event of its view does.
        events.page_definition_id is null and events.page_path is null and events.screen_name is null as is_of_view,
        case when events.event_type = 'click' and events.fs_rage_count > 0 then 1 else 0 end as is_rage_click,
        case when events.event_type = 'click' and events.fs_dead_count > 0 then 1 else 0 end as is_dead_click,
        case when events.event_type = 'exception' then 1 else 0 end as is_exception,
        case when events.event_type = 'crash' then 1 else 0 end as is_crash
    from {{ ref('int_parsed_events') }} as events
    where
        {{ is_in_session('events') }}
        and events.event_time is not null
        and (
            events.event_type in ('exception', 'crash')
            or (events.event_type = 'click' and (events.fs_rage_count > 0 or events.fs_dead_count > 0))
        )
),

-- A window by day, too, so that who asks for some days reads no other events.
placed as (
    select
        troubled.full_session_id,
        troubled.day,
        {%- for column in named_by %}
        case when views.event_id is null then troubled.{{ column }} else views.{{ column }} end as {{ column }},
        {%- endfor %}
        case when views.event_id is null then troubled.page_label else views.page_name end as page_label,
        troubled.page_host,
        troubled.page_path,
        troubled.is_rage_click,
        troubled.is_dead_click,
        troubled.is_exception,
        troubled.is_crash,
        row_number() over (
            partition by troubled.day, troubled.event_id
            order by coalesce(views.page_definition_id, views.undefined_page_id) desc, views.event_id desc
        ) as place
    from troubled
    left join {{ ref('int_page_views') }} as views
        on
            troubled.full_session_id = views.full_session_id
            and coalesce(troubled.view_id, -1) = coalesce(views.view_id, -1)
            and troubled.is_of_view
            and not views.is_estimated
),

happened as (
    select
        full_session_id,
        day,
        {%- for column in named_by %}
        {{ column }},
        {%- endfor %}
        page_label,
        page_host,
        case when is_of_url then substr(undefined_page_id, {{ dbt.length("coalesce(page_host, '')") }} + 1) end
            as page_path,
        1 as is_view,
        is_entry,
        is_exit,
        duration_millis,
        active_duration_millis,
        max_scroll_depth,
        0 as is_rage_click,
        0 as is_dead_click,
        0 as is_exception,
        0 as is_crash
    from hosted
    union all
    select
        full_session_id,
        day,
        {%- for column in of_page %}
        {{ column }},
        {%- endfor %}
        0 as is_view,
        0 as is_entry,
        0 as is_exit,
        cast(null as {{ warehouse_type('bigint') }}) as duration_millis,
        cast(null as {{ warehouse_type('bigint') }}) as active_duration_millis,
        cast(null as {{ warehouse_type('double') }}) as max_scroll_depth,
        is_rage_click,
        is_dead_click,
        is_exception,
        is_crash
    from placed
    where place = 1
),

named as (
    select
        happened.*,
        people.user_id,
        {{ current_page_definition_id('happened') }} as current_definition_id,
        {{ page_by_rule() }} as page_by_rule
    from happened
    inner join {{ ref('int_sessions_of_people') }} as people on happened.full_session_id = people.full_session_id
    {{ with_page('happened') | indent(4) }}
),

totals as (
    select
        day,
        {{ page_of_group('page_host', 'page_path') }},
        {{ total('is_view') }} as views,
        count(distinct case when is_view = 1 then full_session_id end) as sessions,
        count(distinct case when is_view = 1 then user_id end) as users,
        {{ total('is_entry') }} as entries,
        {{ total('is_exit') }} as exits,
        {{ total('duration_millis') }} as duration_millis,
        {{ total('active_duration_millis') }} as active_duration_millis,
        -- Whole numbers add up to the same in any order.
        avg(round(max_scroll_depth * 1000000)) / 1000000 as average_scroll_depth,
        {{ total('is_rage_click') }} as rage_clicks,
        {{ total('is_dead_click') }} as dead_clicks,
        {{ total('is_exception') }} as exceptions,
        {{ total('is_crash') }} as crashes,
        max(case when undefined_page_id like 'app://%' then 1 else 0 end) as is_screen
    from named
    group by day, coalesce(current_definition_id, page_by_rule, undefined_page_id)
)

select
    totals.day,
    totals.page_id,
    totals.page_definition_id,
    coalesce(definitions.name, totals.page_label) as page_name,
    totals.url_host,
    totals.url_path,
    totals.views,
    totals.sessions,
    totals.users,
    totals.entries,
    totals.exits,
    cast(totals.exits as {{ warehouse_type('double') }}) / nullif(totals.views, 0) as exit_rate,
    totals.duration_millis,
    totals.active_duration_millis,
    totals.average_scroll_depth,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.exceptions,
    totals.crashes,
    totals.is_screen = 1 as is_screen
from totals
left join {{ ref('page_definitions') }} as definitions on totals.page_definition_id = definitions.id
