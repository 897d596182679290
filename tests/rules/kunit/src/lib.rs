// SPDX-License-Identifier: GPL-2.0
//! KUnit's attribute, for the host.

use proc_macro::TokenStream;

/// Makes a module of KUnit tests one of cargo's.
#[proc_macro_attribute]
pub fn kunit_tests(_suite: TokenStream, module: TokenStream) -> TokenStream {
    let mut test: TokenStream = "#[cfg(test)]".parse().expect("an attribute");
    test.extend(module);
    test
}
