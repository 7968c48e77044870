{%- set month_after = dbt.dateadd('month', 1, 'in_order.month') -%}
{%- set month_before = dbt.dateadd('month', -1, 'in_order.month') %}

with happened as (
    select
        {{ period_start(local_day('events.event_time'), 'month') | indent(8) }} as month,
        events.event_type,
        {{ person('events') | indent(8) }} as user_id
    from {{ ref('int_parsed_events') }} as events
    {{ with_person('events') | indent(4) }}
    where
        {{ is_of_person('events') }}
        and events.event_time is not null
),

user_months as (
    select
        month,
        event_type,
        user_id,
        count(*) as events
    from happened
    group by month, event_type, user_id
),

in_order as (
    select
        user_months.*,
        lag(month) over (
            partition by event_type, user_id
            order by month
        ) as previous_month,
        lead(month) over (
            partition by event_type, user_id
            order by month
        ) as next_month
    from user_months
),

told as (
    select
        month,
        event_type,
        events,
        case when user_id is not null then 1 else 0 end as is_user,
        case when user_id is not null and previous_month is null then 1 else 0 end as is_new,
        case when user_id is not null and previous_month = cast({{ month_before }} as date) then 1 else 0 end
            as is_returning,
        case when user_id is not null and previous_month < cast({{ month_before }} as date) then 1 else 0 end
            as is_resurrected,
        0 as is_churned
    from in_order
    union all
    -- Who does not come in the month after is missed there.
    select
        cast({{ month_after }} as date) as month,
        event_type,
        0 as events,
        0 as is_user,
        0 as is_new,
        0 as is_returning,
        0 as is_resurrected,
        1 as is_churned
    from in_order
    where
        user_id is not null
        and (next_month is null or next_month > cast({{ month_after }} as date))
)

select
    month,
    event_type,
    {{ total('events') }} as events,
    {{ total('is_user') }} as users,
    {{ total('is_new') }} as new_users,
    {{ total('is_returning') }} as returning_users,
    {{ total('is_resurrected') }} as resurrected_users,
    {{ total('is_churned') }} as churned_users
from told
where month <= (select max(user_months.month) from user_months)
group by month, event_type
