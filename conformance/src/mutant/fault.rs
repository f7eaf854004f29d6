//! The faults: one line for each, with the requirements that it breaks.

/// Makes the enumeration and its table: `Name "where it acts" => [rows]`.
macro_rules! faults {
    ($($name:ident $place:literal => [$($row:literal),+ $(,)?]),* $(,)?) => {
        /// One thing that the server does wrong.
        #[expect(missing_docs, reason = "the table says where each acts and what it breaks")]
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Fault { $($name),* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Where in the server it acts.
            #[must_use]
            pub const fn place(self) -> &'static str {
                match self { $(Self::$name => $place),* }
            }

            /// The requirements of which every one has to fail.
            #[must_use]
            pub const fn rows(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($row),+]),* }
            }
        }
    };
}

faults! {
    // who the client is
    AnyCertificateOfTheCa "authentication" => ["RFC8705-2-c", "RFC6749-2.3.2-a"],
    AnyPinOfAnybody "authentication" => ["RFC6749-2.3.2-a"],
    NoCertificateIsInvalidRequest "authentication" => ["RFC8705-2-d"],
    WrongCertificateIsInvalidGrant "authentication" => ["RFC8705-2-e"],
    UnknownClientsAreTold "authentication" => ["RFC6749-5.2-c"],
    TheNameIsEnough "authentication" => ["RFC6749-2.2-a", "RFC6749-4.4.2-b"],
    DisabledClientsGetTokens "authentication" => ["RFC6749-4.4.2-b"],
    ASecretWillDo "authentication" => ["RFC8705-2-g"],
    RevocationAsksNobody "authentication" => ["RFC8705-2-f", "RFC6749-10.2-a", "RFC7009-2.1-d"],
    IntrospectionForEverybody "authentication" => ["RFC7662-2.1-g", "RFC7662-4-f"],
    HeadersProveKeys "authentication" => ["RFC8705-6.1-c"],
    InvalidClientIs400 "authentication" => ["RFC6749-2.3.1-a", "RFC6749-5.2-e", "RFC7662-2.3-a"],
    BearerTokensAreIgnored "authentication" => ["RFC7662-2.3-b"],
    PasswordsAreNotDecoded "authentication" => ["RFC6749-2.3.1-b"],
    PasswordsMayBeGuessed "authentication" => ["RFC6749-2.3.1-d"],
    PublicClientsGetTokens "authentication" => ["RFC8705-4-a", "RFC6749-2.3-c", "RFC6749-4.4-a"],
    NamesAreNormalized "authentication" => ["RFC8414-4-a", "RFC8414-4-b"],
    // certificates
    ChainsAreNotChecked "certificates" => ["RFC8705-2.1-a"],
    TimeDoesNotMatter "certificates" => ["RFC8705-2.1-g"],
    OnlyTheFirstCertificate "certificates" => ["RFC8705-2.1-f"],
    TheCommonNameIsAName "certificates" => ["RFC8705-2.1-b"],
    TheCommonNameIsTheSubject "certificates" => ["RFC8705-2.1-c"],
    SubjectsAreText "certificates" => ["RFC8705-2.1-d"],
    CommasSplitSubjects "certificates" => ["RFC8705-2.1.2-b"],
    NamesEndAtANul "certificates" => ["RFC8705-7.5-b"],
    WildcardsMatch "certificates" => ["RFC8705-2.1.2-c", "RFC8705-7.5-b"],
    UrisHaveNoCase "certificates" => ["RFC8705-2.1.2-d"],
    AddressesAreText "certificates" => ["RFC8705-2.1.2-e"],
    EmailsHaveNoCase "certificates" => ["RFC8705-2.1.2-f"],
    OnlyTheFirstName "certificates" => ["RFC8705-2.1.2-g"],
    PinsNeedAChain "certificates" => ["RFC8705-2.2-a"],
    PinsAreSubjects "certificates" => ["RFC8705-2.2-b"],
    PinsAreKeys "certificates" => ["RFC8705-2.2-c"],
    OnlyTheFirstPin "certificates" => ["RFC8705-2.2-e"],
    JwksUriIsNotRead "certificates" => ["RFC8705-2.2-d"],
    // registration
    ClientsNameThemselves "registration" => ["RFC6749-2.2-b"],
    BareKeysAreGood "registration" => ["RFC8705-2.2.2-a"],
    KeysAndCertificatesDiffer "registration" => ["RFC8705-2.2.2-b", "RFC7517-4.7-b"],
    TheFirstMemberCounts "registration" => ["RFC7517-4-a"],
    UnknownKeyMembersAreErrors "registration" => ["RFC7517-4-b"],
    KeyTypesAreGuessed "registration" => ["RFC7517-4.1-a"],
    X5cIsUrlSafe "registration" => ["RFC7517-4.7-a"],
    EveryCertificateOfX5cCounts "registration" => ["RFC7517-4.7-c"],
    ThumbprintsAreNotCompared "registration" => ["RFC7517-4.8-a"],
    AnySetIsASet "registration" => ["RFC7517-5-a"],
    UnknownSetMembersAreErrors "registration" => ["RFC7517-5-b"],
    PrivateKeysAreRegistered "registration" => ["RFC7517-9.2-a"],
    EscapesStay "registration" => ["RFC8414-4-a"],
    // TLS
    AnswersWithoutTls "TLS" => ["RFC6749-3.2-c", "RFC6749-10.9-a", "RFC7662-2-a", "RFC7009-2-d", "RFC8414-3-b"],
    CertificateOfAnotherName "TLS" => ["RFC6749-10.9-a"],
    CertificatesAreMandatory "TLS" => ["RFC8705-6.1-a"],
    OnlyKnownIssuers "TLS" => ["RFC8705-6.1-b"],
    NobodyIsAsked "TLS" => ["RFC8705-5-f"],
    NoTls12 "TLS" => ["RFC7662-4-h", "RFC8414-6.1-a"],
    WeakSuites "TLS" => ["RFC8414-6.1-b"],
    // forms
    EmptyIsNotAbsent "form" => ["RFC6749-3.2-e"],
    UnknownParametersAreErrors "form" => ["RFC6749-3.2-f"],
    FormsAreNotDecoded "form" => ["RFC6749-B-a"],
    // scope and grant
    ScopesHaveNoCase "scope" => ["RFC6749-3.3-a"],
    ScopesHaveAnOrder "scope" => ["RFC6749-3.3-b"],
    ScopeIsNotSaid "scope" => ["RFC6749-3.3-d", "RFC6749-5.1-c"],
    NoScopeIsNothing "scope" => ["RFC6749-3.3-e"],
    AnyScope "scope" => ["RFC9068-2.2.3-b", "RFC6749-5.2-h"],
    UnknownScopeIsInvalidRequest "scope" => ["RFC6749-5.2-h"],
    AnyGrant "grant" => ["RFC6749-4.5-a"],
    UnknownGrantIsInvalidGrant "grant" => ["RFC6749-5.2-g"],
    NoGrantIsInvalidClient "grant" => ["RFC6749-5.2-f"],
    // answers
    MembersAreRepeated "answer" => ["RFC6749-3.2-h"],
    NoTokenType "answer" => ["RFC6749-5.1-a"],
    TheLifetimeIsText "answer" => ["RFC6749-5.1-d"],
    AnswersMayBeStored "answer" => ["RFC6749-5.1-e", "RFC7662-5-a"],
    NoPragma "answer" => ["RFC6749-5.1-f"],
    ErrorsAre200 "answer" => ["RFC6749-4.4.3-b", "RFC6749-5.2-a"],
    ErrorsHaveCodesOfTheirOwn "answer" => ["RFC6749-5.2-a", "RFC6749-5.2-b", "RFC7009-2.2.1-a"],
    ErrorCodesHaveQuotes "answer" => ["RFC6749-5.2-i"],
    DescriptionsRepeatInput "answer" => ["RFC6749-5.2-j"],
    ErrorUrisHaveBlanks "answer" => ["RFC6749-5.2-k"],
    ErrorsAreText "answer" => ["RFC6749-5.2-l"],
    TokensAreLogged "answer" => ["RFC6749-10.3-a"],
    // tokens
    HashesAreSha1 "token" => ["RFC8705-3.1-b"],
    HashesHavePadding "token" => ["RFC8705-3.1-c"],
    HashesHaveLines "token" => ["RFC8705-3.1-d"],
    HashesAreOfKeys "token" => ["RFC8705-3.1-e"],
    TheAliasIsTheIssuer "token" => ["RFC8705-5-e", "RFC9068-2.2-a"],
    TokensAreCounted "token" => ["RFC6749-10.10-a"],
    IdentifiersAreOfClients "token" => ["RFC9068-2.2-h"],
    NoIdentifier "token" => ["RFC9068-2.2-h"],
    OnlyEs256 "token" => ["RFC9068-2.1-d"],
    TheTypeIsJwt "token" => ["RFC9068-2.1-e"],
    NoIssuer "token" => ["RFC9068-2.2-a", "RFC8414-3.3-a"],
    NoEnd "token" => ["RFC9068-2.2-b"],
    TheAudienceIsTheClient "token" => ["RFC9068-2.2-c", "RFC9068-3-c"],
    NoSubject "token" => ["RFC9068-2.2-d"],
    NoClientId "token" => ["RFC9068-2.2-f"],
    NoBeginning "token" => ["RFC9068-2.2-g"],
    TokensForTwoResources "token" => ["RFC9068-3-b"],
    OneAudienceForAll "token" => ["RFC9068-5-b"],
    // introspection
    IntrospectionHidesTheHash "introspection" => ["RFC8705-3.2-a"],
    HintsDecide "introspection, revocation" => ["RFC7662-2.1-c", "RFC7009-2.1-b"],
    ActiveIsText "introspection" => ["RFC7662-2.2-a"],
    MembersOfOurOwn "introspection" => ["RFC7662-2.2-e"],
    BadTokensAreErrors "introspection" => ["RFC7662-2.2-g", "RFC7662-2.3-c"],
    TokensNeverEnd "introspection" => ["RFC7662-4-a"],
    TokensOfTheFuture "introspection" => ["RFC7662-4-b"],
    SignaturesAreNotVerified "introspection" => ["RFC7662-4-d", "RFC6749-10.3-b"],
    NoneIsASignature "introspection" => ["RFC9068-2.1-c", "RFC7662-4-d"],
    EverybodySeesAllTokens "introspection" => ["RFC7662-4-e", "RFC7662-5-a"],
    // revocation
    RevocationIsEmptyTalk "revocation" => ["RFC7662-4-c", "RFC7009-2.1-f"],
    AnybodyRevokes "revocation" => ["RFC7009-2.1-e", "RFC7009-5-c"],
    InvalidTokensAreErrors "revocation" => ["RFC7009-2.2-a"],
    UnknownHintsAreErrors "revocation" => ["RFC7009-2.2-b"],
    FloodsAreTooMuch "revocation" => ["RFC7009-5-a"],
    WrongHintsCostMuch "revocation" => ["RFC7009-5-b"],
    // metadata
    PkiByAnotherName "metadata" => ["RFC8705-2.1.1-a"],
    SelfSignedByAnotherName "metadata" => ["RFC8705-2.2.1-a"],
    AliasesOfNothing "metadata" => ["RFC8705-5-b"],
    EndpointsHaveFragments "metadata" => ["RFC6749-3.2-a", "RFC7009-2-c"],
    RevocationByHttp "metadata" => ["RFC7009-2-f", "RFC7009-2-d"],
    TheIssuerHasAQuery "metadata" => ["RFC8414-2-a", "RFC8414-3.3-a"],
    AuthorizationForNothing "metadata" => ["RFC8414-2-b", "RFC8414-2-h"],
    NoTokenEndpoint "metadata" => ["RFC8414-2-c"],
    TheKeysOfAnother "metadata" => ["RFC8414-2-d", "RFC9068-2.1-a"],
    KeysWithoutUse "metadata" => ["RFC8414-2-e"],
    KeyMembersAreRepeated "metadata" => ["RFC7517-4-a"],
    KeysHaveNoType "metadata" => ["RFC7517-4.1-a"],
    OperationsAreRepeated "metadata" => ["RFC7517-4.3-a"],
    TheSetIsBare "metadata" => ["RFC7517-5-a"],
    PrivateKeysAreTold "metadata" => ["RFC7517-9.2-a"],
    ResponseTypesForNothing "metadata" => ["RFC8414-2-h"],
    NoAlgorithmsForJwts "metadata" => ["RFC8414-2-k", "RFC8414-2-p", "RFC8414-2-r"],
    NoneIsAnAlgorithm "metadata" => ["RFC8414-2-l", "RFC8414-2-p", "RFC8414-2-r"],
    SignedMetadataWithoutIssuer "metadata" => ["RFC8414-2.1-a"],
    MetadataElsewhere "metadata" => ["RFC8414-3-a"],
    TheSlashStays "metadata" => ["RFC8414-3.1-b"],
    OneIssuerForAllPaths "metadata" => ["RFC8414-3.1-c"],
    MetadataAreText "metadata" => ["RFC8414-3.2-a"],
    ListsWithoutElements "metadata" => ["RFC8414-3.2-b"],
    NotFoundIs200 "metadata" => ["RFC8414-3.2-c"],
    DocumentsDisagree "metadata" => ["RFC9068-4-b"],
}
