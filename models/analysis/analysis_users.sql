with users as (
    select distinct cast(device_id as {{ dbt.type_string() }}) as user_id
    from {{ ref('int_parsed_events') }}
    where device_id is not null
),

last_identifies as (
    select
        device_id,
        max(event_time) as last_updated_time
    from {{ ref('int_identifies') }}
    group by device_id
),

known as (
    select
        cast(devices.device_id as {{ dbt.type_string() }}) as user_id,
        devices.user_id as uid,
        devices.user_display_name,
        devices.user_email,
        last_identifies.last_updated_time
    from {{ ref('int_device_identities') }} as devices
    left join last_identifies on devices.device_id = last_identifies.device_id
)

select
    users.user_id as id,
    known.uid,
    known.user_display_name,
    known.user_email,
    known.last_updated_time
from users
left join known on users.user_id = known.user_id
