select
    cast(device_id as {{ dbt.type_string() }}) as user_id,
    user_properties,
    properties_time as last_updated_time,
    properties_processed_time as processed_time,
    {%- for column in catalogue_additions('user_properties') %}
    {{ inner_property('user_properties', column) | trim }} as {{ column.name }},
    {%- endfor %}
    properties_updated_time as updated_time
from {{ ref('int_device_identities') }}
where user_properties is not null
