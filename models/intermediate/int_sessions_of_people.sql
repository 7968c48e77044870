{{ config(materialized='view') }}

select
    sessions.full_session_id,
    {{ user_or_anonymous('session_users.user_id', 'sessions.device_id') }} as user_id,
    case when sessions.total_mobile_app_events > 0 then 'mobile_app' else 'web' end as platform
from {{ ref('int_sessions') }} as sessions
left join {{ ref('int_session_users') }} as session_users
    on sessions.full_session_id = session_users.full_session_id
{{ with_internal_users('session_users.user_id') }}
where
    not coalesce(sessions.is_bot, false)
    and not coalesce(sessions.is_internal, false)
    and not {{ is_internal_user('session_users.user_id', 'known_users.user_email') }}
