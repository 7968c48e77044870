{# Funnels and retentions as the vars of these names say them. #}

{% macro told_funnels() -%}
    {%- set example = '[{name: Checkout, within: 1 day, steps: [{name: Cart, page: Cart}, {name: Order, event_name: Bought}]}]' -%}
    {%- set microseconds = microseconds_of_units() -%}
    {%- set found = [] -%}
    {%- for entry in told_journeys('funnels', ['name', 'per', 'within', 'steps'], example) -%}
        {%- set place = 'funnels: ' ~ entry.name -%}
        {%- set amount, _, unit = (entry.get('within') | string).partition(' ') -%}
        {%- if entry.get('per', 'session') not in ('session', 'user') -%}
            {%- do exceptions.raise_compiler_error(place ~ ': per is session or user, not ' ~ entry.per) -%}
        {%- elif not modules.re.fullmatch('[1-9][0-9]{0,5}', amount) or unit.rstrip('s') not in microseconds -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ': within is a time such as 30 minutes, 1 day or 2 weeks, not ' ~ entry.get('within')
            ) -%}
        {%- endif -%}
        {%- set steps = what_counts(
            place ~ ': steps', entry.get('steps') or [], step_keys(), '[{name: Cart, page: Cart}]'
        ) -%}
        {%- if not steps -%}
            {%- do exceptions.raise_compiler_error(place ~ ' needs steps, as in ' ~ example) -%}
        {%- endif -%}
        {%- set named = [] -%}
        {%- for step in steps -%}
            {%- do named.append(dict(step, title=step.name, name=place ~ ': ' ~ step.name)) -%}
        {%- endfor -%}
        {%- do found.append({
            'name': entry.name | string,
            'per': entry.get('per', 'session'),
            'longest': amount | int * microseconds[unit.rstrip('s')],
            'steps': named,
        }) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{% macro told_retentions() -%}
    {%- set example = '[{name: Buyers, period: week, start: {event_name: Bought}, back: {event_name: Bought}}]' -%}
    {%- set found = [] -%}
    {%- for entry in told_journeys('retentions', ['name', 'period', 'start', 'back'], example) -%}
        {%- set place = 'retentions: ' ~ entry.name -%}
        {%- if entry.get('period') not in ('day', 'week', 'month') -%}
            {%- do exceptions.raise_compiler_error(
                place ~ ': period is day, week or month, not ' ~ entry.get('period')
            ) -%}
        {%- endif -%}
        {%- set retention = {'name': entry.name | string, 'period': entry.period, 'steps': []} -%}
        {%- for end in ('start', 'back') if entry.get(end) -%}
            {%- if entry[end] is not mapping or 'name' in entry[end] -%}
                {%- do exceptions.raise_compiler_error(
                    place ~ ': ' ~ end ~ ' says what counts, as in ' ~ example ~ ', not ' ~ entry[end]
                ) -%}
            {%- endif -%}
            {%- set step = what_counts(place, [dict(entry[end], name=end)], step_keys(), example) | first -%}
            {%- do step.update({'name': place ~ ': ' ~ end}) -%}
            {%- do retention.steps.append(step) -%}
            {%- do retention.update({end: step.name}) -%}
        {%- endfor -%}
        {%- do found.append(retention) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{% macro told_journeys(name_of_var, keys, example) -%}
    {%- set told = var(name_of_var) or [] -%}
    {%- if told is string or told is mapping or told is not sequence or told | select('mapping') | list != told | list -%}
        {%- do exceptions.raise_compiler_error(
            name_of_var ~ ' is a list of mappings, such as ' ~ example ~ ', not ' ~ told
        ) -%}
    {%- endif -%}
    {%- set names = [] -%}
    {%- for entry in told -%}
        {%- set name = entry.get('name') -%}
        {%- if name is none or name is boolean or not (name is string or name is number) or not name | string | trim -%}
            {%- do exceptions.raise_compiler_error(name_of_var ~ ': ' ~ entry ~ ' needs a name') -%}
        {%- elif '\\' in name | string or '\n' in name | string -%}
            {%- do exceptions.raise_compiler_error(
                name_of_var ~ ': ' ~ name ~ ' has a backslash or a line break: write it without'
            ) -%}
        {%- elif name | string in names -%}
            {%- do exceptions.raise_compiler_error(
                name_of_var ~ ': ' ~ name ~ ' is there twice: give each a name of its own'
            ) -%}
        {%- endif -%}
        {%- for key in entry if key not in keys -%}
            {%- do exceptions.raise_compiler_error(
                name_of_var ~ ': ' ~ name ~ ' has the key ' ~ key ~ '; known are ' ~ keys | join(', ')
            ) -%}
        {%- endfor -%}
        {%- do names.append(name | string) -%}
    {%- endfor -%}
    {{ return(told) }}
{%- endmacro %}


{% macro step_keys() -%}
    {{ return(['name', 'event_type', 'event_name', 'event_definition', 'page']) }}
{%- endmacro %}


{% macro told_steps() -%}
    {{ return((told_funnels() + told_retentions()) | map(attribute='steps') | sum(start=[])) }}
{%- endmacro %}


{% macro steps_of_people() -%}
    {%- set sessions, steps, identities = ref('sessions'), ref('int_steps'), ref('int_device_identities') -%}
select
    steps.step_name,
    steps.event_id,
    steps.event_time,
    {{ local_day('steps.event_time') }} as day,
    steps.full_session_id,
    coalesce(
        sessions.user_id, {{ user_or_anonymous('identities.user_id', 'steps.device_id') | indent(8) }}
    ) as user_id,
    coalesce(sessions.last_device_type, '(not set)') as device_type,
    coalesce(sessions.channel, '(not set)') as channel
from {{ steps }} as steps
left join {{ sessions }} as sessions on steps.full_session_id = sessions.full_session_id
-- What a server sends has no session: it is of whom its device last named.
left join {{ identities }} as identities
    on steps.device_id = identities.device_id and steps.full_session_id is null
{{ with_internal_users('identities.user_id') }}
where
    steps.event_time is not null
    and not coalesce(sessions.is_bot, steps.is_bot, false)
    and not coalesce(
        sessions.is_internal,
        steps.is_internal or {{ is_internal_user('identities.user_id', 'known_users.user_email') }},
        false
    )
{%- endmacro %}
