select
    pages.day,
    pages.page_id as screen_id,
    pages.page_definition_id,
    pages.page_name as screen_name,
    pages.views,
    pages.sessions,
    pages.users,
    pages.entries,
    pages.exits,
    pages.exit_rate,
    pages.duration_millis,
    pages.active_duration_millis,
    pages.rage_clicks,
    pages.dead_clicks,
    pages.exceptions,
    pages.crashes
from {{ ref('pages_daily') }} as pages
where pages.is_screen
