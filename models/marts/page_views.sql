with views as (
    select
        views.*,
        {{ current_page_definition_id('views') }} as current_definition_id,
        {{ page_by_rule() }} as page_by_rule,
        {{ current_page_definition_id('views', 'next_') | indent(8) }} as next_definition_id,
        {{ page_by_rule('next_') }} as next_page_by_rule
    from {{ ref('int_page_views') }} as views
    {{ with_page('views') | indent(4) }}
    {{ with_page('views', 'next_') | indent(4) }}
)

select
    views.event_id,
    views.full_session_id,
    sessions.user_id,
    sessions.device_id,
    sessions.session_id,
    cast(views.view_id as {{ dbt.type_string() }}) as view_id,
    views.view_number,
    coalesce(views.current_definition_id, views.page_by_rule, views.undefined_page_id) as page_id,
    views.current_definition_id as page_definition_id,
    coalesce(definitions.name, views.page_name) as page_name,
    views.url_full_url,
    views.url_host,
    views.url_path,
    views.start_time,
    views.end_time,
    views.duration_millis,
    views.active_duration_millis,
    views.inactive_duration_millis,
    views.max_scroll_depth,
    coalesce(views.next_definition_id, views.next_page_by_rule, views.next_undefined_page_id) as next_page_id,
    {%- for column in own_columns('page_views', also='session') %}
    {{ 'sessions.' ~ column.of if column.take == 'session' else 'views.' ~ column.name }} as {{ column.name }},
    {%- endfor %}
    views.is_estimated
from views
inner join {{ ref('sessions') }} as sessions on views.full_session_id = sessions.full_session_id
left join {{ ref('page_definitions') }} as definitions on views.current_definition_id = definitions.id
