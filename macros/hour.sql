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
