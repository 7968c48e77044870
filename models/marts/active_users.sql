{%- set windows = {'weekly': 7, 'monthly': 28} -%}
{%- set bigint = warehouse_type('bigint') -%}
{%- set gap_before = dbt.datediff('previous_day', 'day', 'day') -%}
{%- set gap_after = dbt.datediff('day', 'next_day', 'day') -%}
{#- By a column of a relation of numbers. -#}
{%- set day_after = dbt.dateadd('day', 'places.number_of_days', 'active_days.day') %}

with user_days as (
    select distinct
        session_days.day,
        people.user_id
    from {{ ref('int_session_days') }} as session_days
    inner join {{ ref('int_sessions_of_people') }} as people on session_days.full_session_id = people.full_session_id
),

in_order as (
    select
        day,
        lag(day) over (
            partition by user_id
            order by day
        ) as previous_day,
        lead(day) over (
            partition by user_id
            order by day
        ) as next_day
    from user_days
),

gaps as (
    select
        day,
        previous_day,
        next_day,
        {{ gap_before }} as gap_before,
        {{ gap_after }} as gap_after
    from in_order
),

-- A user comes into the users of so many days with the first day after a pause as long, and leaves them so many days
-- after the last one before such a pause: each day of a user is read once, whatever the window.
changes as (
    select
        day,
        1 as is_active,
        case when previous_day is null then 1 else 0 end as is_new,
        case when gap_before <= {{ windows.monthly }} then 1 else 0 end as is_returning,
        case when gap_before > {{ windows.monthly }} then 1 else 0 end as is_resurrected,
        0 as is_churned,
        case when previous_day is null or gap_before > {{ windows.weekly }} then 1 else 0 end as weekly_change,
        case when previous_day is null or gap_before > {{ windows.monthly }} then 1 else 0 end as monthly_change
    from gaps
    {%- for name, length in windows.items() %}
    union all
    select
        cast({{ dbt.dateadd('day', length, 'day') }} as date) as day,
        0 as is_active,
        0 as is_new,
        0 as is_returning,
        0 as is_resurrected,
        {{ 1 if name == 'monthly' else 0 }} as is_churned,
        {{ -1 if name == 'weekly' else 0 }} as weekly_change,
        {{ -1 if name == 'monthly' else 0 }} as monthly_change
    from gaps
    where next_day is null or gap_after > {{ length }}
    {%- endfor %}
),

totals as (
    select
        day,
        {{ total('is_active') }} as dau,
        {{ total('is_new') }} as new_users,
        {{ total('is_returning') }} as returning_users,
        {{ total('is_resurrected') }} as resurrected_users,
        {{ total('is_churned') }} as churned_users,
        {{ total('weekly_change') }} as weekly_change,
        {{ total('monthly_change') }} as monthly_change
    from changes
    group by day
),

-- A day on which nobody came has a row, too, for as long as anybody counts on it.
active_days as (
    select day
    from totals
    where dau > 0
),

places as (
    {%- for number in range(windows.monthly + 1) %}
    select {{ number }} as number_of_days
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

calendar as (
    select distinct cast({{ day_after }} as date) as day
    from active_days
    cross join places
),

last_days as (
    select max(day) as last_day
    from active_days
),

counted as (
    select
        calendar.day,
        coalesce(totals.dau, 0) as dau,
        {%- for name in windows %}
        cast(
            sum(coalesce(totals.{{ name }}_change, 0)) over (
                order by calendar.day
                rows between unbounded preceding and current row
            ) as {{ bigint }}
        ) as {{ name }}_users,
        {%- endfor %}
        coalesce(totals.new_users, 0) as new_users,
        coalesce(totals.returning_users, 0) as returning_users,
        coalesce(totals.resurrected_users, 0) as resurrected_users,
        coalesce(totals.churned_users, 0) as churned_users
    from calendar
    inner join last_days on calendar.day <= last_days.last_day
    left join totals on calendar.day = totals.day
)

select
    day,
    dau,
    weekly_users as wau,
    monthly_users as mau,
    cast(dau as {{ warehouse_type('double') }}) / nullif(monthly_users, 0) as stickiness,
    new_users,
    returning_users,
    resurrected_users,
    churned_users
from counted
