{%- set steps, funnels = steps_of_people(), told_funnels() -%}
{%- set bigint, varchar = warehouse_type('bigint'), warehouse_type('varchar') -%}
{%- if not funnels -%}
select
    cast(null as {{ varchar }}) as funnel_name,
    cast(null as {{ warehouse_type('date') }}) as week,
    cast(null as {{ varchar }}) as device_type,
    cast(null as {{ varchar }}) as channel,
    cast(null as {{ bigint }}) as step,
    cast(null as {{ varchar }}) as step_name,
    cast(null as {{ bigint }}) as entered,
    cast(null as {{ bigint }}) as reached
from {{ ref('int_steps') }}
where 1 = 0
{%- else -%}
with steps as (
    {{ steps | indent(4) }}
)
{%- for funnel in funnels %}
{%- set name, subject = 'funnel_' ~ loop.index, 'full_session_id' if funnel.per == 'session' else 'user_id' %}
{%- set numbers = range(1, funnel.steps | length + 1) | list %},

{{ name }}_step_1 as (
    select
        {{ subject }} as subject,
        event_time,
        event_id,
        min(day) as day,
        min(device_type) as device_type,
        min(channel) as channel,
        {%- for number in numbers[1:] %}
        max(case when step_name = {{ text_literal(funnel.steps[number - 1].name) }} then 1 else 0 end)
            as is_step_{{ number }},
        {%- endfor %}
        max(case when step_name = {{ text_literal(funnel.steps[0].name) }} then event_time end) as start_1
    from steps
    where
        {{ subject }} is not null
        and step_name {{ in_conversions(funnel.steps) }}
    group by {{ subject }}, event_time, event_id
)
{%- for number in numbers[1:] %},

{% if number == 2 -%}
-- The latest start that leads to an event by the steps in order: if that is too long ago, any other is.
{% endif -%}
{{ name }}_step_{{ number }} as (
    select
        earlier.*,
        case
            when is_step_{{ number }} = 1
                then max(start_{{ number - 1 }}) over (
                    partition by subject
                    order by event_time, event_id
                    rows between unbounded preceding and 1 preceding
                )
        end as start_{{ number }}
    from {{ name }}_step_{{ number - 1 }} as earlier
)
{%- endfor %},

{{ name }}_reached as (
    {%- for number in numbers %}
    {%- if not loop.first %}
    union all
    {%- endif %}
    select
        subject,
        start_{{ number }} as start_time,
        {{ number }} as step
    from {{ name }}_step_{{ numbers[-1] }}
    where {{ elapsed('start_' ~ number, 'event_time', 'microsecond') }} <= {{ funnel.longest }}
    {%- endfor %}
),

{{ name }}_starts as (
    select
        subject,
        start_1 as start_time,
        {{ period_start('min(day)', 'week') }} as week,
        min(device_type) as device_type,
        min(channel) as channel
    from {{ name }}_step_1
    where start_1 is not null
    group by subject, start_1
),

{{ name }} as (
    select
        starts.week,
        starts.device_type,
        starts.channel,
        {%- for number in numbers %}
        count(distinct case when reached.step = {{ number }} then starts.subject end) as reached_{{ number }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ name }}_starts as starts
    inner join {{ name }}_reached as reached
        on starts.subject = reached.subject and starts.start_time = reached.start_time
    group by starts.week, starts.device_type, starts.channel
)
{%- endfor %}
{% for funnel in funnels %}
{%- set name = 'funnel_' ~ loop.index %}
{%- set is_last = loop.last %}
{%- for step in funnel.steps %}
select
    cast({{ text_literal(funnel.name) }} as {{ varchar }}) as funnel_name,
    week,
    device_type,
    channel,
    cast({{ loop.index }} as {{ bigint }}) as step,
    cast({{ text_literal(step.title) }} as {{ varchar }}) as step_name,
    reached_1 as entered,
    reached_{{ loop.index }} as reached
from {{ name }}
{%- if not (is_last and loop.last) %}
union all
{%- endif %}
{%- endfor %}
{%- endfor %}
{%- endif %}
