// Where everything is logged, the application's own Application Insights, and who is told.
param prefix string
param location string
param tags object
param retentionDays int
@description('More is not taken on that day; -1: no limit. A limit hides also what is wrong.')
param dailyQuotaGb int
param alertEmails array
@description('Of the Function App\'s identity, which sends telemetry as itself.')
param appPrincipal string

var roles = loadYamlContent('../rbac.yml').roles

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${prefix}-logs'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      disableLocalAuth: true
    }
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${prefix}-app-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, 'app', roles['Monitoring Metrics Publisher'])
  scope: insights
  properties: {
    principalId: appPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Monitoring Metrics Publisher'])
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${prefix}-operators'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'fleet'
    enabled: true
    emailReceivers: [for (email, index) in alertEmails: {
      name: 'operator-${index}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

output logsId string = logs.id
output insightsConnection string = insights.properties.ConnectionString
output actionGroupId string = people.id
