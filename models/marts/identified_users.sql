with ranked as (
    select
        user_id,
        device_id,
        {{ from_last('user_id', first='case when device_id is null then 1 else 0 end') }} as rank_from_last
    from {{ ref('identifies') }}
    where user_id is not null
),

-- Not the last of the device, which may be another user's by now.
ranked_sessions as (
    select
        sessions.*,
        {{ rank_of_session('user_id, device_id') }} as rank_from_last
    from {{ ref('sessions') }} as sessions
)

select
    users.user_id,
    users.user_email,
    users.user_display_name,
    users.user_properties,
    last_identifies.device_id as last_device_id,
    {{ last_of_session('last_sessions') | indent(4) }},
    last_sessions.updated_time as last_updated_time,
    last_sessions.last_processed_time
from {{ ref('int_users') }} as users
-- A server may identify without a device.
inner join ranked as last_identifies
    on users.user_id = last_identifies.user_id and last_identifies.rank_from_last = 1
left join ranked_sessions as last_sessions
    on
        users.user_id = last_sessions.user_id
        and last_identifies.device_id = last_sessions.device_id
        and last_sessions.rank_from_last = 1
where users.is_identified
