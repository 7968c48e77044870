with session_days as (
    select
        counts.*,
        sessions.user_id
    from {{ ref('int_session_days') }} as counts
    inner join {{ ref('sessions') }} as sessions on counts.full_session_id = sessions.full_session_id
),

user_days as (
    select
        session_days.*,
        min(day) over (partition by user_id) as first_day
    from session_days
),

totals as (
    select
        day,
        count(*) as sessions,
        count(distinct user_id) as users,
        count(distinct case when day = first_day then user_id end) as new_users,
        {{ total('rage_clicks') }} as rage_clicks,
        {{ total('dead_clicks') }} as dead_clicks,
        {{ total('exceptions') }} as exceptions
    from user_days
    group by day
),

-- Counted here: a page_view event of the next day may end what began as several views on this one.
views as (
    select
        {{ local_day('start_time') }} as day,
        count(*) as page_views
    from {{ ref('int_page_views') }}
    group by {{ local_day('start_time') }}
),

vitals as (
    select
        day,
        max(case when vital = 'largest_paint_time_millis' then p75 end) as largest_paint_time_millis_p75,
        max(case when vital = 'first_input_delay_millis' then p75 end) as first_input_delay_millis_p75,
        max(case when vital = 'interaction_to_next_paint_millis' then p75 end) as interaction_to_next_paint_millis_p75,
        max(case when vital = 'cumulative_layout_shift' then p75 end) as cumulative_layout_shift_p75
    from {{ ref('int_daily_vitals') }}
    group by day
)

select
    coalesce(totals.day, views.day) as day,
    coalesce(totals.sessions, 0) as sessions,
    coalesce(totals.users, 0) as users,
    coalesce(totals.new_users, 0) as new_users,
    coalesce(views.page_views, 0) as page_views,
    coalesce(totals.rage_clicks, 0) as rage_clicks,
    coalesce(totals.dead_clicks, 0) as dead_clicks,
    coalesce(totals.exceptions, 0) as exceptions,
    vitals.largest_paint_time_millis_p75,
    vitals.first_input_delay_millis_p75,
    vitals.interaction_to_next_paint_millis_p75,
    vitals.cumulative_layout_shift_p75
from totals
full outer join views on totals.day = views.day
left join vitals on totals.day = vitals.day
