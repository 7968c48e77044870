{% macro redshift__warehouse_types() -%}
    {#- In a table, varchar alone would be 256 bytes. -#}
    {{ return({'varchar': 'varchar(65535)', 'double': 'double precision', 'json': 'super'}) }}
{%- endmacro %}

{% macro redshift__elapsed(start, end, unit) -%}
    {#- datediff takes no timestamptz there. -#}
    {{ return(dbt.datediff('(' ~ start ~ " at time zone 'UTC')", '(' ~ end ~ " at time zone 'UTC')", unit) | trim) }}
{%- endmacro %}

{% macro redshift__layout(day, filter_by, join_by, data_type) -%}
    {{ return({'sort': day, 'dist': join_by}) }}
{%- endmacro %}

{% macro redshift__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
    {{- dbt.redshift__get_merge_sql(
        target, source, unique_key, dest_columns, headrace.with_literal_days(incremental_predicates)
    ) -}}
{%- endmacro %}

{% macro redshift__parse_json(text) -%}
    json_parse({{ text }})
{%- endmacro %}

{% macro redshift__try_parse_json(text) -%}
    case when can_json_parse({{ text }}) then json_parse({{ text }}) end
{%- endmacro %}

{% macro redshift__safe_cast(field, type) -%}
    {{ parse_json(field) if type | lower == 'super' else utc_or_cast(field, type) }}
{%- endmacro %}

{% macro redshift__json_text(column, path) -%}
    cast({{ column }}{{ json_path(path) }} as {{ warehouse_type('varchar') }})
{%- endmacro %}

{% macro redshift__json_object(column, path) -%}
    {%- set value = column ~ json_path(path) -%}
    case when json_typeof({{ value }}) <> 'null' then {{ value }} end
{%- endmacro %}

{% macro redshift__rounded(text) -%}
    {%- set number = 'try_cast(' ~ text ~ ' as decimal(38, 9))' -%}
    case
        when {{ number }} > -9223372036854775808.5 and {{ number }} < 9223372036854775807.5
            then cast(round({{ number }}) as bigint)
    end
{%- endmacro %}

{% macro redshift__matches(text, pattern) -%}
    {{ text }} ~ '^({{ pattern }})$'
{%- endmacro %}

{% macro redshift__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.redshift__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro redshift__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.redshift__get_columns_in_relation(relation)) }}
{%- endmacro %}
