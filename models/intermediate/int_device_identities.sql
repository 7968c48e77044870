{#- Not private: funnel and retention read it from whatever project they are called in. -#}
{{ config(materialized='view', access='protected') }}

-- The last identify that names a user; of a device that none names, the last that names a person at all.
with ranked as (
    select
        device_id,
        nullif(user_id, '') as user_id,
        user_email,
        user_display_name,
        row_number() over (
            partition by device_id
            order by
                case when nullif(user_id, '') is null then 1 else 0 end,
                event_time desc nulls last,
                processed_time desc nulls last,
                event_id desc
        ) as rank_from_last
    from {{ ref('int_identifies') }}
    where device_id is not null
)

select
    device_id,
    user_id,
    user_email,
    user_display_name
from ranked
where rank_from_last = 1
