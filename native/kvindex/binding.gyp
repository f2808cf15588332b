{
  'variables': {
    # Set by native/build.ts.
    'node_addon_api_include%': '',
    'stator_sanitize%': '',
  },
  'targets': [
    {
      'target_name': 'kvindex',
      'sources': [
        'src/addon.cc',
        'src/approximate.cc',
        'src/approximate_api.cc',
        'src/block_table.cc',
        'src/dump.cc',
        'src/hit_window.cc',
        'src/index.cc',
        'src/index_api.cc',
        'src/lanes.cc',
        'src/matcher.cc',
        'src/message.cc',
        'src/owner_sets.cc',
        'src/recency.cc',
        'src/run_pool.cc',
        'src/tier.cc',
        'src/tier_store.cc',
      ],
      'include_dirs': ['<(node_addon_api_include)'],
      'defines': ['NAPI_VERSION=9', 'NAPI_CPP_EXCEPTIONS', 'NODE_ADDON_API_CPP_EXCEPTIONS_ALL', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'cflags_cc': ['-std=c++20', '-O3', '-Wall', '-Wextra', '-Wno-unused-parameter', '-fvisibility=hidden'],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17', '-std=gnu++20'],
      'conditions': [
        ['stator_sanitize!=""', {
          'cflags_cc': ['-fsanitize=<(stator_sanitize)', '-fno-omit-frame-pointer', '-g', '-O1'],
          'ldflags': ['-fsanitize=<(stator_sanitize)'],
        }],
      ],
    },
  ],
}
