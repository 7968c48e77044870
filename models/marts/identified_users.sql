with ranked as (
    select
        identifies.*,
        row_number() over (
            partition by user_id
            order by
                -- A server may identify without a device.
                case when device_id is null then 1 else 0 end,
                event_seq_num_desc
        ) as rank_of_device
    from {{ ref('identifies') }} as identifies
    where nullif(user_id, '') is not null
)

select
    identifies.user_id,
    identifies.user_email,
    identifies.user_display_name,
    identifies.user_properties,
    last_devices.device_id as last_device_id,
    {{ last_of_device('devices') | indent(4) }},
    devices.updated_time as last_updated_time,
    devices.processed_time as last_processed_time
from ranked as identifies
inner join ranked as last_devices
    on identifies.user_id = last_devices.user_id and last_devices.rank_of_device = 1
left join {{ ref('devices') }} as devices on last_devices.device_id = devices.id
where identifies.event_seq_num_desc = 1
