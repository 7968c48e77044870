select
    conversions.conversion_name,
    conversions.event_id,
    conversions.event_time,
    conversions.full_session_id,
    coalesce(
        sessions.user_id, {{ user_or_anonymous('identities.user_id', 'conversions.device_id') | indent(8) }}
    ) as user_id,
    coalesce(sessions.device_id, cast(conversions.device_id as {{ dbt.type_string() }})) as device_id,
    conversions.value,
    conversions.page_id,
    conversions.page_name,
    sessions.channel,
    sessions.traffic_source,
    sessions.traffic_medium,
    sessions.utm_campaign,
    sessions.last_device_type,
    sessions.last_country,
    coalesce(sessions.is_bot, conversions.is_bot) as is_bot,
    coalesce(
        sessions.is_internal, {{ is_internal_user('identities.user_id', 'known_users.user_email') }}
    ) as is_internal
from {{ ref('int_conversions') }} as conversions
left join {{ ref('sessions') }} as sessions on conversions.full_session_id = sessions.full_session_id
-- What a server sends has no session: it is of whom its device last named.
left join {{ ref('int_device_identities') }} as identities
    on conversions.device_id = identities.device_id and conversions.full_session_id is null
{{ with_internal_users('identities.user_id') }}
