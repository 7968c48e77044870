select
    views.event_id,
    views.full_session_id,
    sessions.user_id,
    sessions.device_id,
    sessions.session_id,
    cast(views.view_id as {{ dbt.type_string() }}) as view_id,
    views.view_number,
    views.page_id,
    views.page_definition_id,
    -- Named by the definition as it is today, matched as it was when the event was loaded.
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
    views.next_page_id,
    views.is_estimated
from {{ ref('int_page_views') }} as views
inner join {{ ref('sessions') }} as sessions on views.full_session_id = sessions.full_session_id
left join {{ ref('page_definitions') }} as definitions on views.page_definition_id = definitions.id
