with completed as (
    select *
    from {{ ref('analysis_custom_events') }}
    where event_name = 'Order Completed'
)

select
    completed.event_id,
    completed.event_time,
    completed.session_id,
    sessions.user_id,
    coalesce(user_properties.plan, 'none') as plan,
    completed.revenue,
    sessions.total_page_views as pages_in_session,
    sessions.replay_url
from completed
inner join {{ ref('sessions') }} as sessions on completed.session_id = sessions.full_session_id
left join {{ ref('analysis_user_properties') }} as user_properties on completed.user_id = user_properties.user_id
