{% macro require_dispatch() -%}
    {#- The root project needs no entry for itself. -#}
    {%- set order = adapter.config.get_macro_search_order('dbt') or [] -%}
    {%- set before_dbt = order[:order.index('dbt')] if 'dbt' in order else order -%}
    {%- if execute and project_name != 'headrace' and 'headrace' not in before_dbt -%}
        {%- do exceptions.raise_compiler_error(
            'headrace as a package needs this in dbt_project.yml of ' ~ project_name
            ~ ': dispatch: [{macro_namespace: dbt, search_order: [' ~ project_name ~ ', headrace, dbt]}]'
        ) -%}
    {%- endif -%}
{%- endmacro %}
