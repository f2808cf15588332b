{
  'variables': {
    # Set by native/build.ts.
    'node_addon_api_include%': '',
    'xxhash_include%': '',
    'stator_sanitize%': '',
  },
  'targets': [
    {
      'target_name': 'tokens',
      'sources': ['src/addon.cc'],
      'include_dirs': ['../common', '<(node_addon_api_include)', '<(xxhash_include)'],
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
