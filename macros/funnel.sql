{% macro funnel(steps, within, per='session', where=none) -%}
    {%- if per not in ('session', 'user') -%}
        {{ exceptions.raise_compiler_error("funnel: per is session or user, not " ~ per) }}
    {%- endif -%}
    {%- set microseconds = headrace.microseconds_of_units() -%}
    {%- set amount, unit = within.split() -%}
    {%- if unit.rstrip('s') not in microseconds -%}
        {{ exceptions.raise_compiler_error("funnel: within is a number of seconds to weeks, not " ~ within) }}
    {%- endif -%}
    {%- set longest = (amount | int) * microseconds[unit.rstrip('s')] -%}
    {%- set numbers = range(1, steps | length + 1) | list -%}

with events as (
    {{ headrace.events_of_users() | indent(4) }}
),

step_1 as (
    select
        {{ 'full_session_id' if per == 'session' else 'known_user_id' }} as subject,
        event_time,
        event_id,
        {%- for step in steps[1:] %}
        case when {{ step.where }} then 1 else 0 end as is_step_{{ loop.index + 1 }},
        {%- endfor %}
        case when {{ steps[0].where }} then event_time end as start_1
    from events
    where
        {{ 'full_session_id' if per == 'session' else 'known_user_id' }} is not null
        {%- if where %}
        and ({{ where }})
        {%- endif %}
        and (
        {%- for step in steps %}
            ({{ step.where }}){{ ' or' if not loop.last }}
        {%- endfor %}
        )
),
{% for number in numbers[1:] %}
{#- The latest start that leads to an event by the steps in order: if that is too long ago, any other is. #}
step_{{ number }} as (
    select
        step_{{ number - 1 }}.*,
        case
            when is_step_{{ number }} = 1
                then max(start_{{ number - 1 }}) over (
                    partition by subject
                    order by event_time, event_id
                    rows between unbounded preceding and 1 preceding
                )
        end as start_{{ number }}
    from step_{{ number - 1 }}
),
{% endfor %}
reached as (
    select
        {%- for number in numbers %}
        count(distinct case
            when {{ headrace.elapsed('start_' ~ number, 'event_time', 'microsecond') }} <= {{ longest }} then subject
        end) as reached_{{ number }}{{ ',' if not loop.last }}
        {%- endfor %}
    from step_{{ numbers[-1] }}
)

{% for step in steps %}
{%- set number = loop.index %}
select
    {{ number }} as step,
    {{ dbt.string_literal(dbt.escape_single_quotes(step.name)) }} as name,
    reached_{{ number }} as {{ per }}s,
    1.0 * reached_{{ number }} / nullif(reached_1, 0) as share_of_first,
    1.0 * reached_{{ number }} / nullif(reached_{{ [number - 1, 1] | max }}, 0) as share_of_previous
from reached
{%- if not loop.last %}
union all
{% endif %}
{%- endfor %}
order by step
{%- endmacro %}


{% macro microseconds_of_units() -%}
    {{ return({
        'second': 1000000, 'minute': 60000000, 'hour': 3600000000, 'day': 86400000000, 'week': 604800000000,
    }) }}
{%- endmacro %}


{% macro events_of_users() -%}
select
    events.*,
    {{ headrace.user_or_anonymous('coalesce(session_users.user_id, identities.user_id)', 'events.device_id') }} as known_user_id
from {{ ref('marts_events') }} as events
left join {{ ref('int_session_users') }} as session_users on events.full_session_id = session_users.full_session_id
left join {{ ref('int_device_identities') }} as identities
    on events.device_id = cast(identities.device_id as {{ dbt.type_string() }})
where
    events.event_time is not null
    and events.device_id is not null
{%- endmacro %}
