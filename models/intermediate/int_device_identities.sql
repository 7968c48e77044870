{#- Not private: funnel and retention read it from whatever project they are called in. -#}
{{ config(materialized='view', access='protected') }}

with ranked as (
    select
        device_id,
        user_id,
        {{ from_last('device_id', first='case when user_id is null then 1 else 0 end') }} as rank_from_last
    from {{ ref('int_identifies') }}
    where device_id is not null
)

select
    ranked.device_id,
    ranked.user_id,
    users.user_email,
    users.user_display_name,
    users.user_properties,
    users.properties_time,
    users.properties_processed_time,
    users.properties_updated_time,
    users.last_time
from ranked
inner join {{ ref('int_users') }} as users
    on users.user_id = {{ user_or_anonymous('ranked.user_id', 'ranked.device_id') }}
where ranked.rank_from_last = 1
