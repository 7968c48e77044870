-- The last that were told of whom the device belongs to, not of who used it before.
with ranked as (
    select
        identifies.device_id,
        identifies.event_time,
        identifies.user_properties,
        row_number() over (
            partition by identifies.device_id
            order by
                case when nullif(identifies.user_id, '') is null then 1 else 0 end,
                identifies.event_time desc nulls last,
                identifies.processed_time desc nulls last,
                identifies.event_id desc
        ) as rank_from_last
    from {{ ref('int_identifies') }} as identifies
    inner join {{ ref('int_device_identities') }} as identities on identifies.device_id = identities.device_id
    where
        identifies.user_properties is not null
        and (nullif(identifies.user_id, '') is null or identifies.user_id = identities.user_id)
)

select
    cast(device_id as {{ dbt.type_string() }}) as user_id,
    user_properties,
    event_time as last_updated_time
from ranked
where rank_from_last = 1
