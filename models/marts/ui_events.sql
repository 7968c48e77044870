{#- What the seed may ask of an event. -#}
{%- set properties = [
    'console_message_level', 'fs_dead_count', 'fs_error_kind', 'fs_rage_count', 'navigate_reason',
    'pinch_gesture_type', 'request_status',
] -%}
{#- A view: a name that is changed in the seed holds for all events, and none is written again. #}
with names as (
    select
        name,
        event_type,
        property,
        operator,
        value,
        case when operator = '>=' then {{ text_as('value', 'double') }} end as least_value
    from {{ ref('ui_event_names') }}
),

candidates as (
    select
        events.event_id,
        names.name,
        events.event_time,
        events.event_type,
        events.full_session_id,
        events.device_id,
        events.session_id,
        events.view_id,
        names.operator,
        names.value,
        names.least_value,
        case names.property
            {%- for property in properties %}
            when '{{ property }}' then cast(events.{{ property }} as {{ warehouse_type('varchar') }})
            {%- endfor %}
            -- Redshift has no cast of a boolean to text.
            when 'is_exception_handled'
                then
                    case
                        when events.is_exception_handled then 'true'
                        when not events.is_exception_handled then 'false'
                    end
        end as property_value
    from {{ ref('int_parsed_events') }} as events
    inner join names on events.event_type = names.event_type
    where {{ is_late_enough('events.event_time') }}
)

select
    event_id,
    name,
    event_time,
    event_type,
    full_session_id,
    cast(device_id as {{ dbt.type_string() }}) as device_id,
    cast(session_id as {{ dbt.type_string() }}) as session_id,
    cast(view_id as {{ dbt.type_string() }}) as view_id
from candidates
where
    operator is null
    or (operator = '=' and property_value = value)
    or (operator = '>=' and {{ text_as('property_value', 'double') }} >= least_value)
    or (operator = 'is not null' and property_value is not null)
