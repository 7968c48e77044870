with users as (
    select
        device_id,
        max(processed_time) as processed_time,
        max(updated_time) as updated_time
    from {{ ref('int_parsed_events') }}
    where device_id is not null
    group by device_id
)

select
    cast(users.device_id as {{ dbt.type_string() }}) as id,
    devices.user_id as uid,
    devices.user_display_name,
    devices.user_email,
    devices.last_time as last_updated_time,
    users.processed_time,
    users.updated_time
from users
left join {{ ref('int_device_identities') }} as devices on users.device_id = devices.device_id
