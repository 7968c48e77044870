{%- set double = warehouse_type('double') %}

with failed as (
    {{ errors_of_people() }}
),

crashed as (
    select
        day,
        full_session_id,
        max(is_unhandled) as is_crashed
    from failed
    group by day, full_session_id
),

session_days as (
    select
        active_days.day,
        people.platform,
        people.user_id,
        coalesce(crashed.is_crashed, 0) as is_crashed
    from {{ ref('int_session_days') }} as active_days
    inner join {{ ref('int_sessions_of_people') }} as people on active_days.full_session_id = people.full_session_id
    left join crashed on active_days.day = crashed.day and active_days.full_session_id = crashed.full_session_id
),

totals as (
    select
        day,
        platform,
        count(*) as sessions,
        count(distinct user_id) as users,
        count(case when is_crashed = 1 then 1 end) as crashed_sessions,
        count(distinct case when is_crashed = 1 then user_id end) as crashed_users
    from session_days
    group by day, platform
)

select
    day,
    platform,
    sessions,
    users,
    crashed_sessions,
    crashed_users,
    cast(sessions - crashed_sessions as {{ double }}) / sessions as crash_free_sessions,
    cast(users - crashed_users as {{ double }}) / users as crash_free_users
from totals
