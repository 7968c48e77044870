{{ fact('navigate') }}
