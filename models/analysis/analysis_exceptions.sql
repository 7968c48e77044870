{{ fact('exception') }}
