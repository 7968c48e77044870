{# Columns of one's own in sessions, page_views and users, as the var own_columns says them. #}

{% macro own_columns(relation, also=none) -%}
    {%- set told = var('own_columns') or {} -%}
    {%- set example = "{sessions: [{name: adds, data_type: bigint, count: event_name = 'Added'}]}" -%}
    {%- if told is not mapping or told | reject('in', ['sessions', 'page_views', 'users']) | list -%}
        {%- do exceptions.raise_compiler_error(
            'own_columns has sessions, page_views and users, as in ' ~ example ~ ', not ' ~ told
        ) -%}
    {%- endif -%}
    {%- set entries = told.get(relation) or [] -%}
    {%- if entries is string or entries is mapping or entries is not sequence -%}
        {%- do exceptions.raise_compiler_error(
            'own_columns: ' ~ relation ~ ' is a list, as in ' ~ example ~ ', not ' ~ entries
        ) -%}
    {%- endif -%}
    {%- set takes = ['first', 'last', 'min', 'max', 'sum', 'count'] + ([also] if also else []) -%}
    {%- set known = ['name', 'data_type', 'description', 'where'] + takes -%}
    {%- set types = ['varchar', 'bigint', 'double', 'boolean', 'date', 'timestamptz'] -%}
    {%- set found = {} -%}
    {%- for entry in entries -%}
        {%- set name = entry.get('name') if entry is mapping -%}
        {%- set place = 'own_columns: ' ~ relation ~ ': ' ~ (name or entry) -%}
        {%- set says = entry | select('in', takes) | list if entry is mapping else [] -%}
        {%- set wrong = namespace(why=none) -%}
        {%- if entry is not mapping or not modules.re.fullmatch('[a-z_][a-z0-9_]*', name | string) -%}
            {%- set wrong.why = 'needs a name of small letters, digits and underscores' -%}
        {%- elif name in found -%}
            {%- set wrong.why = 'is there twice: give each a name of its own' -%}
        {%- elif entry | reject('in', known) | list -%}
            {%- set wrong.why = 'has the key ' ~ entry | reject('in', known) | first ~ '; known are ' ~ known | join(', ') -%}
        {%- elif entry.data_type not in types -%}
            {%- set wrong.why = 'needs a data_type, one of ' ~ types | join(', ') -%}
        {%- elif says | length != 1 or entry[says[0]] is not string or not entry[says[0]].strip() -%}
            {%- set wrong.why = 'needs one of ' ~ takes | join(', ') ~ ', with what it is of' -%}
        {%- elif says[0] == 'count' and entry.data_type != 'bigint' -%}
            {%- set wrong.why = 'is a count: write data_type: bigint' -%}
        {%- elif says[0] == 'sum' and entry.data_type not in ('bigint', 'double') -%}
            {%- set wrong.why = 'is a sum: write data_type: bigint or double' -%}
        {%- elif says[0] == 'user_property' and not modules.re.fullmatch('[^".\']+([.][^".\']+)*', entry.user_property) -%}
            {%- set wrong.why = 'needs the path of a property by dots, such as account.plan, not ' ~ entry.user_property -%}
        {%- elif says[0] == 'session' and not modules.re.fullmatch('[a-z_][a-z0-9_]*', entry.session) -%}
            {%- set wrong.why = 'needs a column of sessions, such as channel, not ' ~ entry.session -%}
        {%- elif 'where' in entry and (says[0] in ('count', also) or entry.where is not string) -%}
            {%- set wrong.why = 'has a where, a condition for first, last, min, max and sum alone' -%}
        {%- endif -%}
        {%- if wrong.why -%}
            {%- do exceptions.raise_compiler_error(place ~ ' ' ~ wrong.why) -%}
        {%- endif -%}
        {%- do found.update({name: {
            'name': name,
            'data_type': entry.data_type,
            'take': says[0],
            'of': entry[says[0]],
            'where': entry.get('where'),
        }}) -%}
    {%- endfor -%}
    {{ return(found.values() | list) }}
{%- endmacro %}


{% macro own_value(column) -%}
    {%- if column.take == 'count' -%}
    case when {{ column.of }} then 1 end
    {%- elif column.where -%}
    case when {{ column.where }} then {{ column.of }} end
    {%- else -%}
    {{ column.of }}
    {%- endif %} as own_{{ column.name }}
{%- endmacro %}


{% macro own_ranks(columns, partition_by, times, id) -%}
    {%- for column in columns if column.take in ('first', 'last') -%}
    {%- set direction = 'asc' if column.take == 'first' else 'desc' %}
        row_number() over (
            partition by {{ partition_by }}
            order by
                case when own_{{ column.name }} is null then 1 else 0 end,
                {%- for time in times %}
                {{ time }} {{ direction }} nulls last,
                {%- endfor %}
                {{ id }} {{ direction }}
        ) as rank_of_{{ column.name }},
    {%- endfor -%}
{%- endmacro %}


{% macro own_total(column) -%}
    {%- set value = 'own_' ~ column.name -%}
    {%- if column.take == 'count' -%}
    count({{ value }})
    {%- elif column.take == 'sum' -%}
    {#- What a visitor can make up must not overflow a sum. -#}
    cast(sum(case when abs({{ value }}) <= 1e15 then {{ value }} end) as {{ warehouse_type(column.data_type) }})
    {%- else -%}
    {%- set picked = value if column.take in ('min', 'max')
        else 'case when rank_of_' ~ column.name ~ ' = 1 then ' ~ value ~ ' end' -%}
    {%- set function = 'min' if column.take == 'min' else 'max' -%}
    {%- if column.data_type == 'boolean' -%}
    {{ function }}(case when {{ picked }} then 1 when not {{ picked }} then 0 end) = 1
    {%- else -%}
    {{ function }}({{ picked }})
    {%- endif -%}
    {%- endif %} as {{ column.name }}
{%- endmacro %}
