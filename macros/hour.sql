{# What a build leaves out besides the views when it leaves out those: it makes what the last green build made, so that
   each table has its columns and comments, and each query was held against its contract. dbt calls these for models of other
   projects, too, where macros of this one are known by their full names only. #}

{% macro leaves_views() -%}
    {{ return('package:headrace,config.materialized:view' in (invocation_args_dict.get('exclude') or [])) }}
{%- endmacro %}


{% macro default__get_assert_columns_equivalent(sql) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.default__get_assert_columns_equivalent(sql) -}}
    {%- endif -%}
{%- endmacro %}


{% macro duckdb__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.default__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro bigquery__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.bigquery__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro snowflake__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.snowflake__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}

{% macro redshift__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not headrace.leaves_views() -%}
        {{- dbt.redshift__persist_docs(relation, model, for_relation, for_columns) -}}
    {%- endif -%}
{%- endmacro %}


{% macro declared_columns(relation) -%}
    {#- Of a table of headrace's own, or of the temporary one that is merged into it; none of any other. -#}
    {%- set columns = [] -%}
    {%- if headrace.leaves_views() -%}
        {%- set name = (relation.identifier | lower).split('__dbt_tmp')[0] -%}
        {%- for node in graph.nodes.values()
            if node.resource_type == 'model' and node.package_name == 'headrace' and node.config.materialized != 'view'
            and node.alias | lower == name and node.schema | lower == (relation.schema or node.schema) | lower -%}
            {%- for column in node.columns.values() -%}
                {%- do columns.append(api.Column(column.name, column.data_type)) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(columns) }}
{%- endmacro %}

{% macro duckdb__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.duckdb__get_columns_in_relation(relation)) }}
{%- endmacro %}

{% macro redshift__get_columns_in_relation(relation) -%}
    {{ return(headrace.declared_columns(relation) or dbt.redshift__get_columns_in_relation(relation)) }}
{%- endmacro %}

{% macro snowflake__get_columns_in_relation(relation) -%}
    {%- set columns = [] -%}
    {%- for column in headrace.declared_columns(relation) -%}
        {%- do columns.append(api.Column(column.name | upper, column.dtype)) -%}
    {%- endfor -%}
    {{ return(columns or dbt.snowflake__get_columns_in_relation(relation)) }}
{%- endmacro %}
