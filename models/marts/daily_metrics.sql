with device_days as (
    select
        counts.*,
        {{ user_of_device('identities', 'counts') }} as user_id
    from {{ ref('int_device_days') }} as counts
    left join {{ ref('int_device_identities') }} as identities on counts.device_id = identities.device_id
),

user_days as (
    select
        device_days.*,
        min(day) over (partition by user_id) as first_day
    from device_days
),

totals as (
    select
        day,
        cast(sum(sessions) as {{ warehouse_type('bigint') }}) as sessions,
        count(distinct user_id) as users,
        count(distinct case when day = first_day then user_id end) as new_users,
        cast(sum(page_views) as {{ warehouse_type('bigint') }}) as page_views,
        cast(sum(rage_clicks) as {{ warehouse_type('bigint') }}) as rage_clicks,
        cast(sum(dead_clicks) as {{ warehouse_type('bigint') }}) as dead_clicks,
        cast(sum(exceptions) as {{ warehouse_type('bigint') }}) as exceptions
    from user_days
    group by day
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
    totals.day,
    totals.sessions,
    totals.users,
    totals.new_users,
    totals.page_views,
    totals.rage_clicks,
    totals.dead_clicks,
    totals.exceptions,
    vitals.largest_paint_time_millis_p75,
    vitals.first_input_delay_millis_p75,
    vitals.interaction_to_next_paint_millis_p75,
    vitals.cumulative_layout_shift_p75
from totals
left join vitals on totals.day = vitals.day
