{{ config(materialized='view') }}

-- Each of the three is the last that was told of the user, on whatever device and in whatever event.
with told as (
    select
        {{ user_or_anonymous('identifies.user_id', 'identifies.device_id') }} as user_id,
        identifies.user_id is not null as is_identified,
        identifies.event_id,
        identifies.event_time,
        identifies.processed_time,
        identifies.updated_time,
        nullif(identifies.user_email, '') as user_email,
        nullif(identifies.user_display_name, '') as user_display_name,
        identifies.user_properties
    from {{ ref('int_identifies') }} as identifies
),

ranked as (
    select
        {%- for column, rank in [
            ('user_email', 'email_rank'),
            ('user_display_name', 'name_rank'),
            ('user_properties', 'properties_rank'),
        ] %}
        {{ from_last('user_id', first='case when ' ~ column ~ ' is null then 1 else 0 end') }} as {{ rank }},
        {%- endfor %}
        told.*
    from told
    where user_id is not null
),

totals as (
    select
        user_id,
        max(case when email_rank = 1 then user_email end) as user_email,
        max(case when name_rank = 1 then user_display_name end) as user_display_name,
        min(event_time) as first_time,
        max(event_time) as last_time
    from ranked
    group by user_id
)

select
    totals.user_id,
    last_properties.is_identified,
    totals.user_email,
    totals.user_display_name,
    last_properties.user_properties,
    {%- for column, name in [
        ('event_time', 'properties_time'),
        ('processed_time', 'properties_processed_time'),
        ('updated_time', 'properties_updated_time'),
    ] %}
    case when last_properties.user_properties is not null then last_properties.{{ column }} end as {{ name }},
    {%- endfor %}
    totals.first_time,
    totals.last_time
from totals
inner join ranked as last_properties
    on totals.user_id = last_properties.user_id and last_properties.properties_rank = 1
